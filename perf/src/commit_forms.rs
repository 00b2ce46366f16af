//! `corelog-perf commit-forms`: what small durable batches for many partitions cost by the form in which they are
//! committed, with no broker and no network between: a closed loop on one core. It is a trial, to know what a commit
//! journal would pay before anybody builds one into the log (docs/decisions/0012-commit-journal.md).
//!
//! - `drive`: the loop, the same for all forms
//! - `files`: the broker's log as it is, also into blocks that were written before
//! - `journal`, `ring`, `frame`, `tail`: one journal on this core, and segments written afterwards

mod drive;
mod files;
mod frame;
mod journal;
mod ring;
mod tail;
#[cfg(test)]
mod tests;

use crate::facts;
use crate::process;
use crate::settings::Length;
use bytes::Bytes;
use corelog::limits::{BLOCK_BYTES, MESSAGE_BYTES_MAX_DEFAULT};
use corelog::runtime::{self, ShardThread};
use corelog::types::{Timestamp, TopicId};
use corelog::wire::compression::Codec;
use corelog::wire::records::{BatchBuilder, ProducerSequence};
use drive::{Driven, Look};
use files::Files;
use frame::FRAME_BYTES;
use journal::{Journal, ReadBack};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use serde::Serialize;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

const TOPIC: &str = "t";
const TOPIC_ID: TopicId = TopicId([7; 16]);

/// Largest numbers that make sense: together they are memory, descriptors and room.
const PARTITIONS_MAX: u64 = 100_000;
const IN_FLIGHT_MAX: u64 = 100_000;
const TIME_MAX: Duration = Duration::from_secs(3600);
const DATA_BYTES_MAX: u64 = 1 << 40;
const JOURNAL_BYTES_MAX: u64 = 4 << 30;
const REGIONS_MAX: u64 = 64;
const WRITE_BYTES_MAX: u64 = 16 << 20;
const DEPTH_MAX: u64 = 64;
const LAZY_WRITERS_MAX: u64 = 256;
/// A region takes several writes.
const WRITES_OF_REGION_MIN: u64 = 4;
/// A record's value, what a record takes in a batch at most, and the smallest batch that has one.
const VALUE_BYTES: usize = 100;
const RECORD_BYTES_MAX: usize = VALUE_BYTES + 10;
const BATCH_BYTES_MIN: u64 = 256;
/// What a partition takes on disk before it has much: folder, small files, the first space of its segment.
const PARTITION_BYTES: u64 = 128 * 1024;
/// Descriptors beside those of segments.
const OPEN_FILES_BESIDE: u64 = 64;
/// The largest segment, which is all that is prepared.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Measure what small durable batches cost by how they are committed: to each partition's file, or to a journal first
///
/// A closed loop on one core without broker and network: so many batches always wait, dealt out to the partitions in
/// turn. Prints one line of JSON. Its data lies in a folder of its own, which is removed at the end.
#[derive(clap::Args, Clone, Debug)]
pub struct CommitForms {
    /// Folder on the disk that is meant
    #[arg(long, value_name = "FOLDER")]
    dir: PathBuf,
    /// How batches become durable
    #[arg(long, value_enum)]
    form: Form,
    /// Partitions that batches are dealt out to
    #[arg(short, long, default_value_t = 16)]
    partitions: usize,
    /// Bytes of a batch: as many records of 100 B as fit
    #[arg(long, value_name = "BYTES", default_value = "4096")]
    batch_bytes: Size,
    /// Batches that always wait for their acknowledgement
    #[arg(long, default_value_t = 1024)]
    in_flight: usize,
    /// Measured time
    #[arg(short, long, default_value = "10s")]
    duration: Length,
    /// Time before measuring begins, under the same load
    #[arg(long, default_value = "3s")]
    warm_up: Length,
    /// Bytes of batches with which the run ends before its time: what it takes on disk is twice this, about
    #[arg(long, value_name = "BYTES", default_value = "8GiB")]
    data_bytes: Size,
    /// CPU to pin the thread to
    #[arg(long)]
    cpu: Option<usize>,
    #[command(flatten)]
    journal: JournalForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    /// The broker's log: each partition's commits go to its segment
    Files,
    /// The same, into blocks that were all written before (at most 1 GiB of each partition)
    Prepared,
    /// One journal for all, and segments written afterwards
    Journal,
}

/// What only the journal has.
#[derive(clap::Args, Clone, Copy, Debug)]
struct JournalForm {
    /// Bytes of the journal's file, all written before
    #[arg(long, value_name = "BYTES", default_value = "256MiB", help_heading = "Journal")]
    journal_bytes: Size,
    /// Parts of it: one is emptied into segments while another fills
    #[arg(long, default_value_t = 2, help_heading = "Journal")]
    regions: usize,
    /// Bytes of one write to the journal at most
    #[arg(long, value_name = "BYTES", default_value = "1MiB", help_heading = "Journal")]
    gather_bytes: Size,
    /// Writes to the journal in flight
    #[arg(long, default_value_t = 1, help_heading = "Journal")]
    depth: usize,
    /// How what was written to segments becomes durable before its region is used again
    #[arg(long, value_enum, default_value_t = Lazy::Sync, help_heading = "Journal")]
    lazy: Lazy,
    /// Bytes of one write to a segment at most
    #[arg(long, value_name = "BYTES", default_value = "4MiB", help_heading = "Journal")]
    piece_bytes: Size,
    /// Segments that are written at once
    #[arg(long, default_value_t = 32, help_heading = "Journal")]
    lazy_writers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Lazy {
    /// Plain writes, then fdatasync of each file
    Sync,
    /// Each write with O_DSYNC
    Dsync,
    /// Plain writes, then syncfs of the file system, once for a region
    Syncfs,
}

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size(u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let wrong = || format!("{text:?}: expected bytes such as 4096, 64KiB, 256MiB or 8GiB");
        let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(at);
        let unit: u64 = match unit {
            "" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(unit).map(Size).ok_or_else(wrong)
    }
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    form: Form,
    partitions: usize,
    /// Of a batch as it is stored.
    batch_bytes: usize,
    in_flight: usize,
    seconds: f64,
    batches: u64,
    batches_per_second: f64,
    /// Of batches that were acknowledged.
    bytes_per_second: f64,
    /// Of this process, user and system, also in the kernel's workers; the loop is among it.
    cpu_ns_per_batch: f64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    /// What this process wrote to the device, in all and for each byte acknowledged; where that is told.
    written_bytes: Option<u64>,
    amplification: Option<f64>,
    /// Writes of batches to files, and what was waited for to be durable.
    writes: u64,
    syncs: u64,
    /// What the device did meanwhile, for all of the host.
    device: Option<DeviceFigures>,
    /// Bytes of segments that were written before.
    prepared_bytes: u64,
    journal: Option<JournalFigures>,
    peak_memory_bytes: u64,
    filesystem: String,
    kernel: String,
    cpu_model: String,
    commit: String,
}

#[derive(Clone, Debug, Serialize)]
struct DeviceFigures {
    written_bytes: u64,
    writes: u64,
    flushes: u64,
}

#[derive(Clone, Debug, Serialize)]
struct JournalFigures {
    journal_bytes: u64,
    regions: usize,
    gather_bytes: u64,
    depth: usize,
    lazy: Lazy,
    lazy_writers: usize,
    /// Writes to segments, and regions that became free by them.
    pieces: u64,
    regions_emptied: u64,
    /// Times that batches waited for a region to be free, and how long in all.
    stalls: u64,
    stalled_ms: f64,
    /// Batches that a start would find in the journal, and how long reading them took.
    read_back_batches: u64,
    read_back_ms: f64,
}

/// # Errors
/// Numbers out of range, no room, or what failed.
pub fn run(arguments: &CommitForms) -> Result<(), String> {
    let line = serde_json::to_string(&measure(arguments)?).expect("plain numbers");
    // Whoever reads may have gone.
    let _ = writeln!(io::stdout(), "{line}");
    Ok(())
}

fn measure(arguments: &CommitForms) -> Result<Figures, String> {
    arguments.check()?;
    let open_files_max = runtime::raise_open_files_limit()
        .map_err(|error| format!("cannot read the limit of open files: {error}"))?;
    let open_files = arguments.partitions as u64 + OPEN_FILES_BESIDE;
    if arguments.form == Form::Journal && open_files > open_files_max {
        return Err(format!("{open_files} files are opened, and the limit is {open_files_max}"));
    }
    let folder = Folder::make(&arguments.dir)?;
    let space = runtime::volume_space(&folder.0)
        .map_err(|error| format!("cannot tell the room of the disk: {error}"))?;
    arguments.check_room(space.usable_bytes)?;
    let thread =
        ShardThread { name: "commit-forms".into(), cpu: arguments.cpu, spin: Duration::ZERO };
    let (given, path) = (arguments.clone(), folder.0.clone());
    let main = move || async move { on_shard(&given, &path, open_files_max).await };
    let failed = |error: io::Error| format!("cannot measure: {error}");
    let started = runtime::start_shard(&thread, main).map_err(failed)?;
    started.join().map_err(failed)?.map_err(failed)
}

async fn on_shard(given: &CommitForms, folder: &Path, open_files_max: u64) -> io::Result<Figures> {
    runtime::prepare_directory(folder).await?;
    let batch = batch_of(given.batch_bytes.0 as usize, runtime::wall_clock());
    let bytes = batch.len();
    let mount = process::mount_of(folder);
    let device = mount.as_ref().map(|(_, device)| device.as_str());
    let filesystem = mount.as_ref().map_or("unknown", |(kind, _)| kind.as_str());
    if given.form == Form::Journal {
        let journal = Journal::start(given, batch, folder).await?;
        let look = || Look::now(device, journal.counts());
        let driven = drive::run(given, bytes, |partition| journal.offer(partition), look).await;
        let driven = driven.map_err(|error| journal.cause(error))?;
        journal.stop().await;
        let read_back = journal.read_back().await?;
        let figures = Figures::of(given, bytes, &driven, filesystem);
        let of_journal = JournalFigures::of(&given.journal, &driven, &read_back);
        return Ok(Figures { journal: Some(of_journal), ..figures });
    }
    let mut prepared_bytes = 0;
    if given.form == Form::Prepared {
        let each = given.prepared_bytes_each();
        files::prepare(folder, given.partitions, each).await?;
        prepared_bytes = each * given.partitions as u64;
    }
    let files = Files::open(given, batch, folder, open_files_max).await?;
    let look = || Look::now(device, files.counts());
    let driven = drive::run(given, bytes, |partition| files.offer(partition), look).await?;
    files.quiesce().await;
    let figures = Figures::of(given, bytes, &driven, filesystem);
    Ok(Figures { prepared_bytes, ..figures })
}

impl CommitForms {
    fn check(&self) -> Result<(), String> {
        let batch_bytes_max = MESSAGE_BYTES_MAX_DEFAULT as u64;
        range("partitions", self.partitions as u64, 1, PARTITIONS_MAX)?;
        range("batch_bytes", self.batch_bytes.0, BATCH_BYTES_MIN, batch_bytes_max)?;
        range("in_flight", self.in_flight as u64, 1, IN_FLIGHT_MAX)?;
        range("data_bytes", self.data_bytes.0, batch_bytes_max, DATA_BYTES_MAX)?;
        if self.duration.0.is_zero() || self.duration.0 > TIME_MAX || self.warm_up.0 > TIME_MAX {
            return Err("duration and warm_up: up to an hour is possible".to_string());
        }
        if self.form == Form::Journal { self.journal.check(self.batch_bytes.0) } else { Ok(()) }
    }

    /// What may be on disk at once: the log allocates up to twice what it has, and what is in flight at the end is
    /// written, too.
    fn room_bytes(&self) -> u64 {
        let batches = (self.partitions + self.in_flight) as u64 * self.batch_bytes.0;
        let journal = if self.form == Form::Journal { self.journal.journal_bytes.0 } else { 0 };
        let data = 2 * (self.data_bytes.0 + batches);
        data + self.partitions as u64 * PARTITION_BYTES + journal
    }

    fn check_room(&self, usable_bytes: u64) -> Result<(), String> {
        let (need, have) = (self.room_bytes() >> 20, usable_bytes >> 20);
        if need > have {
            return Err(format!("{have} MiB are free, and {need} MiB may be used (data_bytes)"));
        }
        Ok(())
    }

    /// A partition's part of all data, with its first batch, as far as a segment takes it.
    fn prepared_bytes_each(&self) -> u64 {
        let each = self.data_bytes.0 / self.partitions as u64 + 2 * self.batch_bytes.0;
        each.next_multiple_of(BLOCK_BYTES as u64).min(SEGMENT_BYTES_MAX)
    }
}

impl JournalForm {
    fn check(&self, batch_bytes: u64) -> Result<(), String> {
        let block = BLOCK_BYTES as u64;
        let regions = self.regions as u64;
        range("regions", regions, 2, REGIONS_MAX)?;
        range("depth", self.depth as u64, 1, DEPTH_MAX)?;
        range("lazy_writers", self.lazy_writers as u64, 1, LAZY_WRITERS_MAX)?;
        let frame = (batch_bytes + FRAME_BYTES as u64).next_multiple_of(block);
        range("gather_bytes", self.gather_bytes.0, frame, WRITE_BYTES_MAX)?;
        range("piece_bytes", self.piece_bytes.0, block, WRITE_BYTES_MAX)?;
        let least = regions * WRITES_OF_REGION_MIN * self.gather_bytes.0;
        range("journal_bytes", self.journal_bytes.0, least, JOURNAL_BYTES_MAX)?;
        for (name, bytes, of) in [
            ("gather_bytes", self.gather_bytes.0, block),
            ("piece_bytes", self.piece_bytes.0, block),
            ("journal_bytes", self.journal_bytes.0, regions * block),
        ] {
            if !bytes.is_multiple_of(of) {
                return Err(format!("{name} = {bytes}: multiples of {of} are possible"));
            }
        }
        Ok(())
    }
}

fn range(name: &str, value: u64, from: u64, to: u64) -> Result<(), String> {
    if (from..=to).contains(&value) {
        return Ok(());
    }
    Err(format!("{name} = {value}: {from} to {to} is possible"))
}

impl Figures {
    fn of(given: &CommitForms, batch_bytes: usize, driven: &Driven, filesystem: &str) -> Figures {
        let Driven { batches, latencies, before, after } = driven;
        let seconds = after.at.since(before.at).as_secs_f64();
        let bytes = batches * batch_bytes as u64;
        let cpu = after.cpu.saturating_sub(before.cpu);
        let written = after.written_bytes.zip(before.written_bytes).map(|(now, then)| now - then);
        let device = after.device.as_ref().zip(before.device.as_ref());
        let counts = after.counts.since(before.counts);
        let milliseconds = |share| latencies.quantile(share) as f64 / 1e6;
        let used = process::used(std::process::id()).unwrap_or_default();
        let host = facts::host();
        Figures {
            form: given.form,
            partitions: given.partitions,
            batch_bytes,
            in_flight: given.in_flight,
            seconds,
            batches: *batches,
            batches_per_second: *batches as f64 / seconds,
            bytes_per_second: bytes as f64 / seconds,
            cpu_ns_per_batch: cpu.as_nanos() as f64 / *batches as f64,
            p50_ms: milliseconds(0.5),
            p99_ms: milliseconds(0.99),
            p999_ms: milliseconds(0.999),
            max_ms: latencies.max() as f64 / 1e6,
            written_bytes: written,
            amplification: written.map(|written| written as f64 / bytes as f64),
            writes: counts.writes,
            syncs: counts.syncs,
            device: device.map(|(now, then)| DeviceFigures {
                written_bytes: now.written_bytes - then.written_bytes,
                writes: now.writes - then.writes,
                flushes: now.flushes - then.flushes,
            }),
            prepared_bytes: 0,
            journal: None,
            peak_memory_bytes: used.peak_memory_bytes,
            filesystem: filesystem.to_string(),
            kernel: host.kernel,
            cpu_model: host.cpu_model,
            commit: facts::commit(),
        }
    }
}

impl JournalFigures {
    fn of(form: &JournalForm, driven: &Driven, read_back: &ReadBack) -> JournalFigures {
        let counts = driven.after.counts.since(driven.before.counts);
        JournalFigures {
            journal_bytes: form.journal_bytes.0,
            regions: form.regions,
            gather_bytes: form.gather_bytes.0,
            depth: form.depth,
            lazy: form.lazy,
            lazy_writers: form.lazy_writers,
            pieces: counts.pieces,
            regions_emptied: counts.regions,
            stalls: counts.stalls,
            stalled_ms: counts.stalled.as_secs_f64() * 1e3,
            read_back_batches: read_back.batches,
            read_back_ms: read_back.took.as_secs_f64() * 1e3,
        }
    }
}

/// Of one run; removed with all that is in it when the run ends, well or not.
struct Folder(PathBuf);

impl Folder {
    fn make(parent: &Path) -> Result<Folder, String> {
        let failed =
            |error: io::Error| format!("cannot make a folder in {}: {error}", parent.display());
        let path = fs::canonicalize(parent).map_err(failed)?;
        let name = format!("commit-forms-{}-{:08x}", std::process::id(), runtime::random_u64());
        let path = path.join(name);
        fs::create_dir(&path).map_err(failed)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("corelog-perf: cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Where the log keeps a partition.
fn partition_folder(folder: &Path, partition: usize) -> PathBuf {
    folder.join(format!("{TOPIC}-{partition}"))
}

/// A batch as a producer sends it, of so many bytes at most: always the same one but for its time.
fn batch_of(bytes_max: usize, time: Timestamp) -> Bytes {
    let mut chance = SmallRng::seed_from_u64(1);
    let mut builder = BatchBuilder::new(Codec::None);
    while builder.is_empty() || builder.bytes() + RECORD_BYTES_MAX <= bytes_max {
        let mut value = [0; VALUE_BYTES];
        chance.fill_bytes(&mut value);
        builder.push(time, None, Some(&value[..]), &[]);
    }
    builder.build(ProducerSequence::NONE)
}
