//! `corelog doctor disk`: what the device of a data directory gives for the ways in which a broker uses it, and the model
//! that `corelog serve` takes its settings from.

mod choose;
mod measure;
mod plan;

use crate::cli::data::DataDirectory;
use crate::cli::moment;
use crate::cli::output::{self, Failure, Format};
use crate::config::DiskModel;
use crate::runtime;
use choose::Choice;
use measure::Measured;
use plan::{Plan, Work};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Measure what the disk of a data directory gives, and write it down for serve.
///
/// Writes, syncs and reads as a broker does, in files of its own that are gone when it ends, however it does. No broker
/// may use the directory meanwhile. The result is a small file, the model, from which corelog serve takes at its start how
/// many commits and reads are in flight and how long a commit may be, where its configuration does not say. On a
/// device that others use too, measure when they are as busy as they will be.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  corelog doctor disk --data-dir /var/lib/corelog
  corelog doctor disk --seconds 120 --model /etc/corelog/disk-model.toml
  corelog doctor disk --json | jq 'select(.subject == \"synced-write\")'")]
pub struct DiskCheck {
    #[command(flatten)]
    directory: DataDirectory,

    /// How long to measure, about.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    seconds: f64,

    /// What does not keep to this at its p99, in milliseconds, is not chosen.
    #[arg(long, value_name = "MS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    latency_ms_max: u64,

    /// The file to write; in the data directory, disk-model.toml, if it is not said.
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,

    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Short for --format json.
    #[arg(long)]
    json: bool,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "from 0.1 to 3600 is possible".to_string())
}

impl DiskCheck {
    pub fn run(self) -> Result<(), Failure> {
        let directory = &self.directory.data_dir;
        let file = self.model.clone().unwrap_or_else(|| directory.join(DiskModel::FILE_NAME));
        refuse_what_is_no_model(&file)?;
        std::fs::create_dir_all(directory).map_err(|error| {
            Failure::failed(format!("cannot make {}: {error}", directory.display()))
        })?;
        let measured = self.directory.run_beside(self.measure())?;
        let latency_max = Duration::from_millis(self.latency_ms_max);
        let choice = choose::choose(&measured, latency_max).expect("all shapes were measured");
        let model = model_of(&measured, &choice);
        let written = runtime::replace_file(&file, model.to_toml().as_bytes());
        // Whoever cannot write it has measured all the same.
        let is_json = self.json || self.format == Format::Json;
        output::stdout(|out| match is_json {
            true => write_json(out, &measured, &choice),
            false => write_text(out, &measured, &choice),
        })?;
        written.map_err(|error| {
            Failure::failed(format!("cannot write {}: {error}", file.display()))
        })?;
        let shown = file.display();
        output::note(&match self.model {
            None => format!("written to {shown}: the next start of corelog serve takes it up"),
            Some(_) => {
                format!("written to {shown}: corelog serve --disk-model {shown} takes it up")
            }
        });
        Ok(())
    }

    async fn measure(&self) -> Result<Vec<Measured>, Failure> {
        let directory = &self.directory.data_dir;
        let shown = directory.display();
        let (plan, shapes) = (Plan::new(self.seconds), plan::shapes());
        let space = runtime::volume_space(directory);
        let space = space.map_err(|error| {
            Failure::failed(format!("cannot tell the space of {shown}: {error}"))
        })?;
        refuse_without_space(space.usable_bytes, &plan)?;
        let progress = output::progress(Some(shapes.len() as u64), "measurements", false);
        let measured = measure::measure(directory, &shapes, &plan, &|| progress.inc(1)).await;
        progress.finish_and_clear();
        measured.map_err(|error| Failure::failed(format!("cannot measure {shown}: {error}")))
    }
}

fn refuse_without_space(usable_bytes: u64, plan: &Plan) -> Result<(), Failure> {
    let needed = plan.free_bytes_min();
    if usable_bytes >= needed {
        return Ok(());
    }
    let mib = |bytes: u64| bytes >> 20;
    Err(Failure::failed(format!(
        "{} MiB are free, and {} MiB have to be: half of them are used and given back (fewer with fewer --seconds)",
        mib(usable_bytes),
        mib(needed)
    )))
}

/// Only a model, of whatever version, is replaced by one.
fn refuse_what_is_no_model(file: &Path) -> Result<(), Failure> {
    let mut start = Vec::new();
    let length = DiskModel::FIRST_LINE.len() as u64;
    let read = File::open(file).and_then(|file| file.take(length).read_to_end(&mut start));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) if start == DiskModel::FIRST_LINE.as_bytes() => Ok(()),
        Ok(_) => Err(Failure::usage(format!(
            "{} is there and is no model of a disk: name another file",
            file.display()
        ))),
        Err(error) => Err(Failure::failed(format!("cannot read {}: {error}", file.display()))),
    }
}

fn model_of(measured: &[Measured], choice: &Choice) -> DiskModel {
    let sync = measured.iter().find(|one| one.shape.work == Work::Sync);
    DiskModel {
        version: DiskModel::VERSION,
        measured_ms: u64::try_from(moment::now().0).unwrap_or(0),
        commits_in_flight_max: choice.commits_in_flight_max(),
        commit_bytes_max: choice.commit_bytes_max(),
        file_reads_in_flight_max: choice.file_reads_in_flight_max(),
        commit_bytes_per_second: choice.commit.bytes_per_second() as u64,
        small_commits_per_second: choice.small.per_second as u64,
        sync_us: sync.map_or(0, |sync| micros(sync.median)),
        read_bytes_per_second: choice.read.bytes_per_second() as u64,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// `64 KiB`, `4 MiB`; all that is measured is whole KiB.
fn size(bytes: usize) -> String {
    match bytes >> 10 {
        kib if kib.is_multiple_of(1024) => format!("{} MiB", kib >> 10),
        kib => format!("{kib} KiB"),
    }
}

fn megabytes(one: &Measured) -> String {
    format!("{:.0}", one.bytes_per_second() / 1e6)
}

fn write_text(out: &mut impl Write, measured: &[Measured], choice: &Choice) -> io::Result<()> {
    let head = [
        "work",
        "size",
        "in flight",
        "files",
        "count",
        "per second",
        "MB/s",
        "median us",
        "p99 us",
    ];
    let mut rows = vec![head.map(String::from).to_vec()];
    rows.extend(measured.iter().map(|one| {
        let shape = one.shape;
        vec![
            shape.work.name().to_string(),
            size(shape.bytes),
            shape.in_flight.to_string(),
            shape.files.to_string(),
            one.count.to_string(),
            format!("{:.0}", one.per_second),
            if shape.work == Work::Sync { "-".to_string() } else { megabytes(one) },
            micros(one.median).to_string(),
            micros(one.p99).to_string(),
        ]
    }));
    output::write_table(out, &rows)?;
    let Choice { commit, deep, small, read } = choice;
    writeln!(
        out,
        "\ncommit_bytes_max {}: one synced write in flight gives {} MB/s, p99 {} us",
        size(choice.commit_bytes_max()),
        megabytes(commit),
        micros(commit.p99)
    )?;
    writeln!(
        out,
        "commits_in_flight_max {}: {} of {} give {} MB/s, {} of 4 KiB {:.0} a second, each to a file of its own",
        choice.commits_in_flight_max(),
        deep.shape.in_flight,
        size(deep.shape.bytes),
        megabytes(deep),
        small.shape.in_flight,
        small.per_second
    )?;
    writeln!(
        out,
        "file_reads_in_flight_max {}: reads of {} give {} MB/s, p99 {} us",
        choice.file_reads_in_flight_max(),
        size(read.shape.bytes),
        megabytes(read),
        micros(read.p99)
    )
}

// ---------------------------------------------------------------- JSON

fn write_json(out: &mut impl Write, measured: &[Measured], choice: &Choice) -> io::Result<()> {
    for one in measured {
        writeln!(out, "{}", to_json(one))?;
    }
    let model = json!({
        "subject": "model",
        "commits_in_flight_max": choice.commits_in_flight_max(),
        "commit_bytes_max": choice.commit_bytes_max(),
        "file_reads_in_flight_max": choice.file_reads_in_flight_max(),
    });
    writeln!(out, "{model}")
}

fn to_json(one: &Measured) -> Value {
    json!({
        "subject": one.shape.work.name(),
        "bytes": one.shape.bytes,
        "in_flight": one.shape.in_flight,
        "files": one.shape.files,
        "count": one.count,
        "per_second": one.per_second,
        "bytes_per_second": one.bytes_per_second(),
        "median_us": micros(one.median),
        "p99_us": micros(one.p99),
    })
}

#[cfg(test)]
mod tests;
