//! `corelog-perf direct-read`: what a device gives to direct reads of a log's files, with no broker between: the
//! ceiling of consumers that catch up, as fio's sequential read with direct=1. A thread of its own reads.

use crate::process;
use crate::settings::Length;
use corelog::limits::BLOCK_BYTES;
use corelog::runtime::{self, File, FileOptions, ShardThread};
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// Largest numbers that make sense: together they are memory.
const READ_BYTES_MAX: usize = 16 << 20;
const IN_FLIGHT_MAX: usize = 256;
/// How long the idle thread polls before it sleeps, as the broker's does.
const SPIN: Duration = Duration::from_micros(50);

/// Read the files of a log with direct I/O as fast as the device gives: what catching up can reach at most
///
/// File after file from start to end, over and over; what was only preallocated is left out. Prints one line of JSON.
#[derive(clap::Args, Clone, Debug)]
pub struct DirectRead {
    /// Folders whose .log files are read
    #[arg(required = true, value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Bytes of one read, a multiple of 4096
    #[arg(long, default_value_t = 1 << 20)]
    read_bytes: usize,
    /// Reads in flight
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// How long
    #[arg(short, long, default_value = "5s")]
    duration: Length,
    /// CPU to pin the reading thread to
    #[arg(long)]
    cpu: Option<usize>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Figures {
    bytes_per_second: f64,
    bytes: u64,
    seconds: f64,
    /// Of this process, user and system.
    cpu_seconds: f64,
    read_bytes: usize,
    in_flight: usize,
    files: usize,
    /// Reads that all files take once.
    reads_of_all: usize,
}

/// # Errors
/// Numbers out of range, no files, or why they could not be read.
pub fn run(arguments: &DirectRead) -> Result<(), String> {
    let line = serde_json::to_string(&measure(arguments)?).expect("plain numbers");
    // Whoever reads may have gone.
    let _ = writeln!(io::stdout(), "{line}");
    Ok(())
}

fn measure(arguments: &DirectRead) -> Result<Figures, String> {
    let DirectRead { read_bytes, in_flight, cpu, .. } = *arguments;
    let is_whole = read_bytes > 0 && read_bytes.is_multiple_of(BLOCK_BYTES);
    if !is_whole || read_bytes > READ_BYTES_MAX {
        return Err(format!(
            "read_bytes = {read_bytes}: multiples of {BLOCK_BYTES} to {READ_BYTES_MAX} are possible"
        ));
    }
    if !(1..=IN_FLIGHT_MAX).contains(&in_flight) {
        return Err(format!("in_flight = {in_flight}: 1 to {IN_FLIGHT_MAX} is possible"));
    }
    let paths = log_files(&arguments.folders)?;
    let files = paths.len();
    let used = || process::used(std::process::id()).map_or(0.0, |used| used.cpu_seconds);
    let before = used();
    let thread = ShardThread { name: "direct-read".into(), cpu, spin: SPIN };
    let given = arguments.clone();
    let started =
        runtime::start_shard(&thread, move || async move { read_all(&paths, &given).await });
    let failed = |error: io::Error| format!("cannot read the files: {error}");
    let read = started.and_then(runtime::ShardHandle::join).map_err(failed)?.map_err(failed)?;
    let Read { bytes, seconds, reads_of_all } = read;
    let (bytes_per_second, cpu_seconds) = (bytes as f64 / seconds, used() - before);
    Ok(Figures {
        bytes_per_second,
        bytes,
        seconds,
        cpu_seconds,
        read_bytes,
        in_flight,
        files,
        reads_of_all,
    })
}

/// Files that are not empty, in the order of their names: an empty one that is opened first would mislead the
/// executor about its device (see `runtime::prepare_directory`).
fn log_files(folders: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for folder in folders {
        let failed = |error: io::Error| format!("cannot list {}: {error}", folder.display());
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let is_log = path.extension().is_some_and(|extension| extension == "log");
            if is_log && entry.metadata().map_err(failed)?.len() > 0 {
                found.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() {
        return Err("no .log file with bytes is in these folders".to_string());
    }
    Ok(found)
}

struct Read {
    bytes: u64,
    seconds: f64,
    reads_of_all: usize,
}

/// Reads until time is over. What is in flight then still counts, and so does its time.
async fn read_all(paths: &[PathBuf], given: &DirectRead) -> io::Result<Read> {
    let length = given.read_bytes;
    let (mut files, mut places) = (Vec::new(), Vec::new());
    for path in paths {
        let options = FileOptions { read_only: true, ..FileOptions::default() };
        let file = Rc::new(File::open(path, options).await?);
        let written = written_places(&file, length as u64).await?;
        places.extend(written.into_iter().map(|place| (file.clone(), place)));
        files.push(file);
    }
    if places.is_empty() {
        return Err(io::Error::other("nothing was ever written to them"));
    }
    let start = runtime::now();
    let (mut bytes, mut next) = (0, 0);
    let mut reading = FuturesUnordered::new();
    loop {
        while reading.len() < given.in_flight && runtime::now().since(start) < given.duration.0 {
            let (file, place) = places[next % places.len()].clone();
            next += 1;
            reading.push(async move { file.read_at(place, length).await.map(|read| read.len()) });
        }
        match reading.next().await {
            Some(read) => bytes += read? as u64,
            None => break,
        }
    }
    let seconds = runtime::now().since(start).as_secs_f64();
    let reads_of_all = places.len();
    drop(places);
    for file in files.into_iter().filter_map(Rc::into_inner) {
        file.close().await?;
    }
    Ok(Read { bytes, seconds, reads_of_all })
}

/// Multiples of `step` from which on there is something within a step that was written once: what was only
/// preallocated reads as zeros and never touches the device.
async fn written_places(file: &File, step: u64) -> io::Result<Vec<u64>> {
    let length = file.length().await?;
    let (mut places, mut from) = (Vec::new(), 0);
    while from < length
        && let Some(written) = file.next_written(from)?
    {
        let place = written / step * step;
        places.push(place);
        from = place + step;
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn reading(folder: PathBuf) -> DirectRead {
        DirectRead {
            folders: vec![folder],
            read_bytes: 2 * BLOCK_BYTES,
            in_flight: 2,
            duration: Length::from_millis(100),
            cpu: None,
        }
    }

    #[test]
    fn all_that_was_written_is_read_over_and_over_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("00000000000000000000.log");
        // Two reads and a half of data, then space that was never written; and files that are no log.
        fs::write(&path, vec![7u8; 5 * BLOCK_BYTES]).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(64 << 20).unwrap();
        fs::write(folder.path().join("00000000000000000000.index"), [1u8; 100]).unwrap();
        fs::write(folder.path().join("00000000000000000005.log"), b"").unwrap();
        let figures = measure(&reading(folder.path().to_path_buf())).unwrap();
        assert_eq!((figures.files, figures.reads_of_all), (1, 3));
        assert!(figures.seconds >= 0.1 && figures.bytes_per_second > 0.0, "{figures:?}");
        assert!(figures.bytes > 3 * 2 * BLOCK_BYTES as u64, "more than once: {figures:?}");
        assert!(figures.bytes.is_multiple_of(2 * BLOCK_BYTES as u64), "{figures:?}");
    }

    #[test]
    fn what_cannot_be_measured_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let fault = |change: fn(&mut DirectRead)| {
            let mut reading = reading(folder.path().to_path_buf());
            change(&mut reading);
            measure(&reading).expect_err("there is nothing to read")
        };
        assert!(fault(|_| {}).contains("no .log file"));
        assert!(fault(|reading| reading.read_bytes = 1000).contains("read_bytes = 1000"));
        assert!(fault(|reading| reading.read_bytes = 0).contains("read_bytes = 0"));
        assert!(fault(|reading| reading.in_flight = 0).contains("in_flight = 0"));
        assert!(fault(|reading| reading.folders.push("/nowhere".into())).contains("/nowhere"));
    }
}
