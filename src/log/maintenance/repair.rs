//! Repairing a partition that an inspection found damaged: cutting it there, or taking out what is damaged and
//! nothing else. Only where an operator asks for it, and where no broker runs.
//!
//! Offsets stay dense: a batch without records, as compaction leaves them, takes the place of what is taken out, so
//! that whatever reads the log later may go on to hold every gap for damage.
//!
//! What is changed is kept in a folder first (`backup`). Then a marker in the partition's folder keeps brokers
//! from serving what is half repaired, until all is done: after a crash the same repair, asked for again, ends it.

use super::backup::{Backup, Writer};
use super::finding::{FindingKind, Inspection, Region};
use super::inspect::PartitionFacts;
use crate::log::fault::LogFault;
use crate::log::partition::Partition;
use crate::log::recovery_points::{self, PointsFile};
use crate::log::segment;
use crate::log::shard_log::ShardLog;
use crate::log::small_file;
use crate::runtime::{self, File, FileOptions};
use crate::types::{Offset, Position};
use crate::wire::batch;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The marker is one short line.
const MARKER_BYTES_MAX: usize = 4096;
const MARKER_PREFIX: &str = "complete ";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// The log ends where the first damage begins.
    Truncate,
    /// Damaged bytes are taken out; what follows keeps its offsets.
    SkipDamaged,
    /// What can be made from the records alone is made anew.
    Indexes,
}

/// What a repair would do.
#[derive(Clone, Debug)]
pub struct RepairPlan {
    /// For people, in the order in which it is done.
    pub sentences: Vec<String>,
    repair: Repair,
    found: Inspection,
}

impl RepairPlan {
    /// Plans a repair; none when there is nothing to repair.
    ///
    /// # Errors
    /// Why this repair cannot be made, for people.
    pub fn make(found: &Inspection, repair: Repair) -> Result<Option<RepairPlan>, String> {
        let mut sentences = Vec::new();
        match (repair, found.regions.first()) {
            (Repair::Truncate, Some(region)) => sentences.extend(describe_cut(found, region)),
            (Repair::SkipDamaged, Some(_)) => {
                if let Some(region) = found.regions.iter().find(|region| !region.can_be_skipped()) {
                    return Err(format!(
                        "what is damaged from offset {} on cannot be skipped: only --truncate is left",
                        region.from
                    ));
                }
                sentences.extend(found.regions.iter().map(describe_skip));
            }
            (Repair::Indexes, Some(region)) => {
                return Err(format!(
                    "records are damaged from offset {} on: ask for --skip-damaged or --truncate",
                    region.from
                ));
            }
            (Repair::Indexes, None) => {
                sentences.extend(
                    found.stale.iter().map(|base| {
                        format!("make the indexes of the segment at offset {base} anew")
                    }),
                );
                if found.epochs_stale {
                    sentences.push("make the history of leader epochs anew".to_string());
                }
                let of_points = FindingKind::RecoveryPoints;
                if found.findings.iter().any(|finding| finding.kind == of_points) {
                    sentences.push("forget what recovery points say of this partition".to_string());
                }
            }
            (_, None) => {}
        }
        if sentences.is_empty() && found.is_interrupted {
            sentences.push("end the repair that was interrupted".to_string());
        }
        let plan = RepairPlan { sentences, repair, found: found.clone() };
        Ok((!plan.sentences.is_empty()).then_some(plan))
    }

    /// Does it, and keeps what it changes in `backup`.
    ///
    /// # Errors
    /// What the system says. Then the partition is not served until the repair was asked for again.
    pub async fn carry_out(
        &self,
        shard: &Rc<ShardLog>,
        facts: &PartitionFacts,
        backup: &Path,
    ) -> Result<(), LogFault> {
        let partition = facts.unopened(shard);
        let listing = partition.list().await?;
        partition.read_epochs(listing.foreign).await?;
        if self.found.epochs_stale {
            let mut state = partition.state.borrow_mut();
            (state.epochs, state.epochs_known) = (self.found.epochs.clone(), true);
        }
        let kept = Backup::begin(&shard.options.data_directory, backup).await;
        let backup = kept.map_err(|error| LogFault::from_io("create", backup, 0, &error))?;
        let segments: Vec<Offset> = listing.segments.iter().map(|(base, _)| *base).collect();
        let work = Work { partition: &partition, found: &self.found, backup, segments };
        let outcome = match self.repair {
            Repair::Truncate => work.truncate(&listing.snapshots).await,
            Repair::SkipDamaged => work.skip().await,
            Repair::Indexes => work.remake().await,
        };
        shard.files.remove_partition(partition.number);
        outcome
    }
}

fn describe_cut(found: &Inspection, region: &Region) -> Vec<String> {
    let Region { segment, start, from, to, .. } = region;
    let mut sentences = vec![format!(
        "cut the segment at offset {segment} at byte {start}, and set aside all that follows: the log ends at \
         offset {from}, from which on offsets are given anew"
    )];
    let lost = match to.0 - from.0 {
        1.. => format!("damaged offsets {from} to {}", to.0 - 1),
        _ => "no damaged offsets".to_string(),
    };
    let after = found.findings.iter().filter_map(|finding| finding.after.as_ref()).next();
    let after = after.map(|after| after.totals).unwrap_or_default();
    sentences.push(format!(
        "lost with it: {lost}, and {} whole records in {} batches ({} bytes) behind them",
        after.records, after.batches, after.bytes
    ));
    sentences
}

fn describe_skip(region: &Region) -> String {
    let Region { segment, start, end, from, to, .. } = region;
    let bytes = *end - *start;
    let taken = match bytes {
        0 => format!(
            "put a batch without records behind byte {start} of the segment at offset {segment}"
        ),
        _ => format!(
            "take {bytes} bytes from byte {start} on out of the segment at offset {segment}"
        ),
    };
    match to.0 - from.0 {
        0 => format!("{taken}: no offset is lost with them"),
        _ => {
            format!("{taken}: offsets {from} to {} are lost, what follows keeps its own", to.0 - 1)
        }
    }
}

/// A repair that is under way.
struct Work<'a> {
    partition: &'a Rc<Partition>,
    found: &'a Inspection,
    backup: Backup,
    /// Base offsets, ascending.
    segments: Vec<Offset>,
}

impl Work<'_> {
    fn path(&self, base: Offset, suffix: &str) -> PathBuf {
        segment::file_path(&self.partition.directory, base, suffix)
    }

    async fn truncate(&self, snapshots: &[Offset]) -> Result<(), LogFault> {
        let Some(region) = self.found.regions.first() else { return self.end_interrupted().await };
        let Region { segment: base, start, from: end, .. } = *region;
        let is_there = self.segments.contains(&base);
        if is_there {
            self.copy(&self.path(base, segment::LOG_SUFFIX)).await?;
        }
        self.begin(end).await?;
        for snapshot in snapshots.iter().rev().filter(|snapshot| **snapshot > end) {
            self.take(&self.path(*snapshot, segment::PRODUCERS_SUFFIX)).await?;
        }
        for later in self.segments.iter().rev().filter(|later| **later > base) {
            for suffix in segment::SUFFIXES {
                self.take(&self.path(*later, suffix)).await?;
            }
            self.sync().await?;
        }
        if is_there {
            self.take_indexes(base).await?;
            let path = self.path(base, segment::LOG_SUFFIX);
            let cut = async {
                let file = File::open(&path, FileOptions::default()).await?;
                file.truncate(start.0).await?;
                file.sync().await?;
                file.close().await
            };
            cut.await.map_err(|error| LogFault::from_io("cut", &path, start.0, &error))?;
            self.write_index(base, start).await?;
        }
        self.partition.state.borrow_mut().next_offset = end;
        self.partition.forget_later_epochs().await?;
        if is_there && end > self.segments[0] && !snapshots.contains(&end) {
            // What the removed snapshots knew of producers up to here.
            let producers = &self.found.producers_at_cut;
            self.partition.write_beside(end, segment::PRODUCERS_SUFFIX, producers).await?;
        }
        self.end().await
    }

    async fn skip(&self) -> Result<(), LogFault> {
        let regions = &self.found.regions;
        let bases: BTreeSet<Offset> = regions.iter().map(|region| region.segment).collect();
        for base in bases.iter().filter(|base| self.segments.contains(base)) {
            self.copy(&self.path(*base, segment::LOG_SUFFIX)).await?;
        }
        self.begin(self.found.known).await?;
        for base in bases {
            let of_it = || regions.iter().filter(move |region| region.segment == base);
            let is_there = self.segments.contains(&base);
            // A file that is missing is made anew, one that is whole is left as it is.
            let is_behind =
                |region: &&Region| !is_there || (region.start == region.end && region.from != base);
            let inside: Vec<&Region> = of_it().filter(|region| !is_behind(region)).collect();
            if !inside.is_empty() {
                self.take_indexes(base).await?;
                let path = self.path(base, segment::LOG_SUFFIX);
                let rewritten = self.rewrite(&path, &inside).await;
                rewritten.map_err(|error| LogFault::from_io("rewrite", &path, 0, &error))?;
            }
            for region in of_it().filter(is_behind) {
                let path = self.path(region.from, segment::LOG_SUFFIX);
                let made = self.make(&path, region).await;
                made.map_err(|error| LogFault::from_io("create", &path, 0, &error))?;
            }
        }
        self.sync().await?;
        self.remake_indexes().await?;
        self.end().await
    }

    async fn remake(&self) -> Result<(), LogFault> {
        self.begin(self.found.known).await?;
        for base in &self.found.stale {
            self.take_indexes(*base).await?;
        }
        self.remake_indexes().await?;
        self.end().await
    }

    /// All was done but the marker removed.
    async fn end_interrupted(&self) -> Result<(), LogFault> {
        self.begin(self.found.known).await?;
        self.remake_indexes().await?;
        self.end().await
    }

    // ------------------------------------------------------------ steps

    /// From here on the partition is not served. Nothing was changed before.
    async fn begin(&self, complete: Offset) -> Result<(), LogFault> {
        let data_directory = &self.partition.shard.options.data_directory;
        let fault = |error| LogFault::from_io("rewrite", data_directory, 0, &error);
        let files = recovery_points::read_files(data_directory).await.map_err(fault)?;
        let key = (self.partition.id.topic_id, self.partition.id.index);
        let knows =
            |file: &&PointsFile| file.entries.iter().flatten().any(|(known, _)| *known == key);
        for file in files.iter().filter(knows) {
            self.copy(&file.path).await?;
        }
        self.copy(&self.partition.epochs_path()).await?;
        self.backup.sync().await.map_err(fault)?;
        let path = self.partition.directory.join(segment::REPAIRING_NAME);
        let line = format!("{MARKER_PREFIX}{complete}\n");
        let created = runtime::create_directory_all(&self.partition.directory).await;
        created.map_err(|error| LogFault::from_io("create", &path, 0, &error))?;
        let written = small_file::write(&path, line.as_bytes()).await;
        written.map_err(|error| LogFault::from_io("create", &path, 0, &error))?;
        self.partition.sync_names().await?;
        if self.found.is_interrupted {
            self.sync_segments().await?;
        }
        if self.found.epochs_stale {
            self.partition.write_epochs(true).await?;
        }
        // They say how many bytes a segment has.
        for PointsFile { path, entries, .. } in files.iter().filter(knows) {
            let others = entries.iter().flatten().filter(|(known, _)| *known != key);
            let others: Vec<Vec<u8>> = others.map(|(known, point)| point.encode(*known)).collect();
            recovery_points::write(path, &others).await.map_err(fault)?;
        }
        Ok(())
    }

    /// What the repair that did not end has cut may not be durable yet.
    async fn sync_segments(&self) -> Result<(), LogFault> {
        for base in &self.segments {
            let path = self.path(*base, segment::LOG_SUFFIX);
            let synced = async {
                let file = File::open(&path, FileOptions::default()).await?;
                file.sync().await?;
                file.close().await
            };
            synced.await.map_err(|error| LogFault::from_io("sync", &path, 0, &error))?;
        }
        Ok(())
    }

    /// All is done: the partition may be served.
    async fn end(&self) -> Result<(), LogFault> {
        self.sync().await?;
        let path = self.partition.directory.join(segment::REPAIRING_NAME);
        let removed = runtime::remove_file(&path).await;
        removed.map_err(|error| LogFault::from_io("remove", &path, 0, &error))?;
        self.partition.sync_names().await
    }

    async fn copy(&self, path: &Path) -> Result<(), LogFault> {
        let copied = self.backup.copy(path).await;
        copied.map_err(|error| LogFault::from_io("copy", path, 0, &error))
    }

    async fn take(&self, path: &Path) -> Result<(), LogFault> {
        let taken = self.backup.take(path).await;
        taken.map_err(|error| LogFault::from_io("move", path, 0, &error))
    }

    async fn take_indexes(&self, base: Offset) -> Result<(), LogFault> {
        for suffix in [segment::INDEX_SUFFIX, segment::TIME_INDEX_SUFFIX] {
            self.take(&self.path(base, suffix)).await?;
        }
        Ok(())
    }

    async fn sync(&self) -> Result<(), LogFault> {
        let synced = self.backup.sync().await;
        let directory = &self.partition.directory;
        synced.map_err(|error| LogFault::from_io("sync", directory, 0, &error))?;
        self.partition.sync_names().await
    }

    /// Writes a segment without these parts of it, then puts it in the place of the old one at once.
    async fn rewrite(&self, path: &Path, regions: &[&Region]) -> io::Result<()> {
        let options = FileOptions { read_only: true, ..FileOptions::default() };
        let file = File::open(path, options).await?;
        let length = file.length().await?;
        let temporary = segment::with_end(path, segment::TEMPORARY_END);
        let mut writer = Writer::create(&temporary).await?;
        let mut at = 0;
        for region in regions {
            writer.write_from(&file, at..region.start.0).await?;
            writer.write(&stand_in(region)).await?;
            at = region.end.0;
        }
        writer.write_from(&file, at..length).await?;
        writer.finish().await?;
        file.close().await?;
        runtime::rename(&temporary, path).await?;
        runtime::sync_directory(&self.partition.directory).await
    }

    /// Makes a segment that stands for what is missing.
    async fn make(&self, path: &Path, region: &Region) -> io::Result<()> {
        let temporary = segment::with_end(path, segment::TEMPORARY_END);
        let mut writer = Writer::create(&temporary).await?;
        writer.write(&stand_in(region)).await?;
        writer.finish().await?;
        runtime::rename(&temporary, path).await?;
        runtime::sync_directory(&self.partition.directory).await
    }

    /// Makes the indexes of sealed segments anew. Those of segments that were not sealed, and may end in zeros, and
    /// of the last one are made by the next start.
    async fn remake_indexes(&self) -> Result<(), LogFault> {
        let segments = self.partition.list().await?.segments;
        let nexts = segments.iter().skip(1).map(|(next, _)| *next);
        for ((base, bytes), next) in segments.iter().zip(nexts) {
            let touched = self.found.stale.contains(base)
                || self.found.regions.iter().any(|r| r.segment == *base || r.from == *base);
            if next <= self.found.known && (touched || self.found.is_interrupted) {
                self.take_indexes(*base).await?;
                self.write_index(*base, Position(*bytes)).await?;
            }
        }
        Ok(())
    }

    async fn write_index(&self, base: Offset, end: Position) -> Result<(), LogFault> {
        self.partition.shard.files.remove_segment(self.partition.number, base);
        let index = self.partition.rebuild_index(base, end).await?;
        let (offsets, times) = (index.encode_offsets(), index.encode_times());
        self.partition.write_beside(base, segment::INDEX_SUFFIX, &offsets).await?;
        self.partition.write_beside(base, segment::TIME_INDEX_SUFFIX, &times).await
    }
}

/// What takes the place of a region: a batch that says which offsets were there, if any were.
fn stand_in(region: &Region) -> Vec<u8> {
    match i32::try_from(region.to.0 - region.from.0 - 1) {
        Ok(last_offset_delta) if last_offset_delta >= 0 => {
            batch::without_records(region.from, last_offset_delta)
        }
        _ => Vec::new(),
    }
}

impl Partition {
    /// Up to where the log was complete, as an interrupted repair wrote it down.
    pub(super) async fn read_repairing(&self) -> Result<Offset, LogFault> {
        let path = self.directory.join(segment::REPAIRING_NAME);
        let read = small_file::read(&path, MARKER_BYTES_MAX).await;
        let read = read.map_err(|error| LogFault::from_io("read", &path, 0, &error))?;
        let text = read.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let offset = text.strip_prefix(MARKER_PREFIX).and_then(|line| line.trim().parse().ok());
        Ok(offset.map_or(Offset::ZERO, Offset))
    }
}
