//! What the machine allows, measured before a run in the same minute: the kernel's TCP, by a sink in the
//! broker's place, and the disk, by direct writes of the broker's sizes. Main thread and threads of its own.

use crate::report::model::Limit;
use crate::run::{self, Watcher};
use crate::settings::{Length, Rate, Settings};
use corelog::runtime::buffer::AlignedBuffer;
use corelog::runtime::{self, File, FileOptions, ShardThread};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SINK_TIME: Length = Length::from_secs(3);
const DISK_TIME: Duration = Duration::from_secs(2);
/// The file is written over and over: blocks that were written before, as in a log that is preallocated and
/// recycled, need no metadata of the file system.
const FILE_BYTES: u64 = 256 << 20;

/// Measures both; `cpus` are the broker's, where they are known.
///
/// # Errors
/// What could not be measured, and why.
pub fn measure(
    settings: &Settings,
    cpus: Option<&str>,
    directory: Option<&Path>,
    watcher: &mut dyn Watcher,
) -> Result<Vec<Limit>, String> {
    let mut limits = vec![sink(settings, cpus, watcher)?];
    if let Some(directory) = directory {
        let bytes = settings.batch_bytes.unwrap_or(64 * 1024).next_multiple_of(4096);
        for sync in [true, false] {
            limits.push(disk(directory, bytes, sync)?);
        }
    }
    Ok(limits)
}

/// Ends a sink when it is no longer needed.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The same load, as fast as it goes, at a sink that runs where the broker does.
fn sink(
    settings: &Settings,
    cpus: Option<&str>,
    watcher: &mut dyn Watcher,
) -> Result<Limit, String> {
    let failed = |error: std::io::Error| format!("cannot start the sink: {error}");
    let program = std::env::current_exe().map_err(failed)?;
    let partitions = settings.partitions.unwrap_or(1).to_string();
    let mut command = match cpus {
        None => Command::new(program),
        Some(cpus) => {
            let mut pinned = Command::new("taskset");
            pinned.args(["-c", cpus]).arg(program);
            pinned
        }
    };
    command.args(["sink", "--listen", "127.0.0.1:0", "--partitions", &partitions]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut running = Running(child.map_err(failed)?);
    let stderr = running.0.stderr.take().expect("piped");
    let mut said = String::new();
    BufReader::new(stderr).read_line(&mut said).map_err(failed)?;
    let address = said.trim().strip_prefix("sink listens on ");
    let address = address.ok_or_else(|| format!("the sink says: {said}"))?;
    let settings = Settings {
        bootstrap: Some(vec![address.to_string()]),
        rate: Some(Rate::Max),
        rate_per_producer: None,
        consumers: Some(0),
        groups: None,
        verify: None,
        consume_after: None,
        duration: Some(SINK_TIME),
        warm_up: Some(Length::from_secs(1)),
        existing: Some(true),
        broker_pid: Some(running.0.id()),
        ..settings.clone()
    };
    let report = run::run(&settings, watcher)?;
    let bytes = report.produced.map_or(0, |produced| produced.batch_bytes);
    let place = cpus.map_or("not pinned".to_string(), |cpus| format!("on CPUs {cpus}"));
    Ok(Limit {
        name: "TCP sink".to_string(),
        bytes_per_second: bytes as f64 / report.seconds,
        how: format!("the same load in a closed loop at a sink {place}, for {SINK_TIME}"),
    })
}

/// One direct write after the other, as one partition's commits are.
fn disk(directory: &Path, bytes: usize, sync: bool) -> Result<Limit, String> {
    let path = directory.join(format!(".corelog-perf-{:016x}", runtime::random_u64()));
    let thread = ShardThread { name: "disk".into(), cpu: None, spin: Duration::from_micros(50) };
    let measured = runtime::start_shard(&thread, {
        let path = path.clone();
        move || async move {
            let written = write(&path, bytes, sync).await;
            let removed = runtime::remove_file(&path).await;
            written.and_then(|rate| removed.map(|()| rate))
        }
    });
    let failed = |error: std::io::Error| format!("cannot measure {}: {error}", directory.display());
    let rate = measured.and_then(runtime::ShardHandle::join).map_err(failed)?.map_err(failed)?;
    let mode = if sync { "O_DSYNC" } else { "no sync" };
    let seconds = DISK_TIME.as_secs();
    Ok(Limit {
        name: format!("disk, {} KiB writes, {mode}", bytes / 1024),
        bytes_per_second: rate,
        how: format!("direct writes over written blocks, one in flight, for {seconds} s"),
    })
}

async fn write(path: &Path, bytes: usize, sync: bool) -> std::io::Result<f64> {
    let directory = path.parent().unwrap_or(path);
    runtime::prepare_directory(directory).await?;
    let make = FileOptions { create_new: true, ..FileOptions::default() };
    let file = File::open(path, make).await?;
    let mut buffer = AlignedBuffer::allocate(bytes);
    buffer.as_mut_slice().fill(0x5a);
    let buffer = buffer.freeze();
    let places = (FILE_BYTES / bytes as u64).max(1);
    for place in 0..places {
        file.write_at(&buffer, place * bytes as u64).await?;
    }
    file.sync().await?;
    file.close().await?;
    let file =
        File::open(path, FileOptions { sync_on_write: sync, ..FileOptions::default() }).await?;
    let start = runtime::now();
    let mut count = 0;
    while runtime::now().since(start) < DISK_TIME {
        file.write_at(&buffer, count % places * bytes as u64).await?;
        count += 1;
    }
    let seconds = runtime::now().since(start).as_secs_f64();
    file.close().await?;
    Ok((count * bytes as u64) as f64 / seconds)
}
