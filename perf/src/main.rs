//! corelog-perf: first, rough load against any Kafka-API broker, and a raw TCP sink to compare with.
//!
//! Outside the broker; blocking threads and prepared frames, so that the sender costs little more than its
//! system calls. Closed loop: it finds throughput, it measures no latency.

mod compare;
mod consume;
mod frames;
mod histogram;
mod produce;
mod report;
mod sink;

use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(name = "corelog-perf", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send prepared produce requests as fast as they are acknowledged.
    Produce(Load),
    /// Fetch partitions from their start to their end, again and again.
    Consume(Load),
    /// Take whatever comes, answer it like a broker, store nothing: what the kernel allows.
    Sink(Sink),
    Render(report::commands::Render),
    Compare(report::commands::Compare),
}

#[derive(Args, Clone)]
pub struct Load {
    /// A broker; the others are found from it.
    #[arg(long, default_value = "127.0.0.1:9092")]
    bootstrap: SocketAddr,
    /// The topic; it must exist.
    #[arg(long, default_value = "perf")]
    topic: String,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// Bytes of a batch, about.
    #[arg(long, default_value_t = 65536)]
    batch_bytes: usize,
    /// Batches of one request, each of another partition.
    #[arg(long, default_value_t = 1)]
    batches: usize,
    /// Connections to each broker.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Requests in flight on a connection.
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Seconds before counting begins.
    #[arg(long, default_value_t = 1)]
    warm_up: u64,
    /// The peer is `sink`: no metadata is asked.
    #[arg(long)]
    sink: bool,
    /// Partitions of the topic, with --sink.
    #[arg(long, default_value_t = 1)]
    partitions: i32,
}

#[derive(Args, Clone)]
pub struct Sink {
    #[arg(long, default_value = "127.0.0.1:9192")]
    listen: SocketAddr,
}

/// Counted over the measured time.
#[derive(Clone, Copy, Default)]
pub struct Count {
    pub records: u64,
    pub bytes: u64,
    pub requests: u64,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.requests += other.requests;
    }
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Produce(load) => run(&load, produce::run),
        Command::Consume(load) => run(&load, consume::run),
        Command::Sink(sink) => sink::run(&sink),
        Command::Render(render) => report::commands::render(&render),
        Command::Compare(compare) => report::commands::compare(&compare),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corelog-perf: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One line of JSON: what was done, at what rate, at what cost to this process.
fn run(load: &Load, work: fn(&Load) -> std::io::Result<Count>) -> std::io::Result<()> {
    let before = cpu_time();
    let count = work(load)?;
    let cpu = cpu_time().saturating_sub(before);
    let seconds = load.seconds as f64;
    println!(
        "{{\"records_per_second\":{:.0},\"megabytes_per_second\":{:.1},\"requests_per_second\":{:.0},\
         \"generator_cpu_share\":{:.2},\"seconds_with_warm_up\":{}}}",
        count.records as f64 / seconds,
        count.bytes as f64 / seconds / 1e6,
        count.requests as f64 / seconds,
        cpu.as_secs_f64() / (load.seconds + load.warm_up) as f64,
        load.seconds + load.warm_up,
    );
    Ok(())
}

/// CPU time of this process so far, from /proc/self/stat (proc(5)): user and system ticks of 10 ms.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}
