//! Looking at all of a partition's files, batch by batch, and changing nothing: what an operator is told before
//! anything is repaired. Whether bytes are a torn tail or damage is decided by what decides it at a start
//! (`scan`); the walk only goes on behind damage, at the next whole batch.
//!
//! Cold; runs where no broker does. Files are read in pieces.

use super::finding::{After, Finding, FindingKind, Inspection, Region, Remedy, Totals};
use super::observe::{Break, Observer};
use super::recover::Listing;
use super::scan::{Scan, Window};
use crate::limits::BATCH_HEADER_BYTES;
use crate::log::config::LogConfig;
use crate::log::fault::{FaultKind, LogFault};
use crate::log::index::IndexedBatch;
use crate::log::partition::{Partition, PartitionId, State};
use crate::log::producers::ProducerState;
use crate::log::recovery_points;
use crate::log::segment::{self, Segment};
use crate::log::shard_log::ShardLog;
use crate::log::small_file;
use crate::log::verify::Epochs;
use crate::runtime::{self, File, FileOptions};
use crate::types::{Offset, Position};
use crate::wire::batch::{self, BatchHeader};
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes whose checksum is computed at most while looking for what follows one damaged place: anything may look
/// like a header. At it, the rest of the segment counts as damaged and is not skipped.
const SEARCH_BYTES_MAX: usize = 16 << 30;
/// Damaged places of one partition that are told apart. At it, the walk ends.
const REGIONS_MAX: usize = 10_000;

const CUT_AT_START: &str = "a start cuts this torn tail";
const READ_AGAIN: &str = "a start reads more of the log instead";

/// What is known of a partition beside its files.
#[derive(Clone, Debug)]
pub struct PartitionFacts {
    pub id: PartitionId,
    pub config: Arc<LogConfig>,
    pub leader_epoch: i32,
    /// None: where its first segment begins.
    pub log_start: Option<Offset>,
}

impl PartitionFacts {
    /// The partition, not opened.
    pub(super) fn unopened(&self, shard: &Rc<ShardLog>) -> Rc<Partition> {
        let directory = shard.options.data_directory.join(self.id.to_string());
        let log_start = self.log_start.unwrap_or(Offset::ZERO);
        let state = State::new(self.config.clone(), self.leader_epoch, log_start);
        Partition::new(shard, self.id.clone(), directory, state)
    }
}

/// Looks at the files of recovery points.
///
/// # Errors
/// As the system calls.
pub async fn inspect_recovery_points(data_directory: &Path) -> io::Result<Vec<Finding>> {
    let files = recovery_points::read_files(data_directory).await?;
    let damaged = files.into_iter().filter(|file| file.entries.is_none());
    let finding = |path| Finding {
        kind: FindingKind::RecoveryPoints,
        path,
        position: 0,
        offsets: None,
        reason: "the recovery points are damaged".to_string(),
        after: None,
        remedy: Remedy::NotNeeded(READ_AGAIN),
    };
    Ok(damaged.map(|file| finding(file.path)).collect())
}

impl Inspection {
    /// Looks at all files of a partition. `progress` is told of bytes as they are read.
    ///
    /// # Errors
    /// What keeps even a look from being taken, such as a folder that cannot be listed.
    pub async fn of(
        shard: &Rc<ShardLog>,
        facts: &PartitionFacts,
        progress: &dyn Fn(u64),
    ) -> Result<Inspection, LogFault> {
        let partition = facts.unopened(shard);
        partition.take_point();
        let outcome = inspect(&partition, facts, progress).await;
        partition.return_point();
        shard.files.remove_partition(partition.number);
        outcome
    }
}

async fn inspect(
    partition: &Rc<Partition>,
    facts: &PartitionFacts,
    progress: &dyn Fn(u64),
) -> Result<Inspection, LogFault> {
    let mut listing = partition.list().await?;
    set_lost_aside(partition, &mut listing).await;
    let first = listing.segments.first().map(|(base, _)| *base);
    let log_start = facts.log_start.or(first).unwrap_or(Offset::ZERO);
    {
        let mut state = partition.state.borrow_mut();
        state.marked_unsynced = listing.unsynced;
        state.log_start = log_start;
    }
    partition.read_epochs(listing.foreign).await?;
    let found = look(partition, &listing, log_start, progress).await?;
    if !found.doubts_epochs {
        return Ok(found);
    }
    // Batches that are whole say other epochs than the file of their history, which has no checksum. Whichever
    // leaves more of the log in place is believed.
    {
        let mut state = partition.state.borrow_mut();
        state.epochs = Epochs::default();
        state.leader_epoch = facts.leader_epoch;
    }
    let mut without = look(partition, &listing, log_start, progress).await?;
    if without.regions.len() >= found.regions.len() {
        return Ok(found);
    }
    without.epochs_stale = true;
    without.add(Finding {
        kind: FindingKind::Epochs,
        path: partition.epochs_path(),
        position: 0,
        offsets: None,
        reason: "the history of leader epochs is not what the batches say".to_string(),
        after: None,
        remedy: Remedy::RemakeIndexes,
    });
    Ok(without)
}

/// Takes the snapshots of producers that the device has lost from those that are read; their names
/// still say up to where the log was complete. A start is not as lenient.
async fn set_lost_aside(partition: &Partition, listing: &mut Listing) {
    while let Some(newest) = listing.snapshots.last().copied() {
        let path = segment::file_path(&partition.directory, newest, segment::PRODUCERS_SUFFIX);
        match small_file::read(&path, ProducerState::SNAPSHOT_BYTES_MAX).await {
            Err(error) if runtime::is_lost(&error) => {
                listing.snapshots.pop();
                listing.lost_snapshots.push((newest, error.to_string()));
            }
            _ => break,
        }
    }
}

async fn look(
    partition: &Rc<Partition>,
    listing: &Listing,
    log_start: Offset,
    progress: &dyn Fn(u64),
) -> Result<Inspection, LogFault> {
    let mut inspector = Inspector::new(partition, listing, log_start, progress).await?;
    inspector.look_beside().await?;
    if listing.segments.is_empty() {
        inspector.look_at_nothing();
    } else {
        inspector.walk().await?;
    }
    Ok(inspector.finish())
}

/// What a walk found at the end of whole batches.
enum Ending {
    Whole,
    Torn(Position),
    Damaged(LogFault),
}

/// Where whole batches go on behind damage.
enum Later {
    At(Position, Offset),
    Nowhere,
    GivenUp,
}

struct Inspector<'a> {
    partition: &'a Rc<Partition>,
    listing: &'a Listing,
    names: HashSet<String>,
    scan: Scan,
    result: Inspection,
    /// Findings whose `after` is told once all was read, with what had been seen before.
    open: Vec<(usize, Totals)>,
    /// The segment that ended where it is known to be complete when that was written down: it may have been rolled
    /// since, and nobody says that it was sealed.
    unsealed: Option<Offset>,
    /// What contradicts the recovery point; told when the walk finds nothing else.
    contradiction: Option<LogFault>,
    progress: &'a dyn Fn(u64),
}

impl<'a> Inspector<'a> {
    async fn new(
        partition: &'a Rc<Partition>,
        listing: &'a Listing,
        log_start: Offset,
        progress: &'a dyn Fn(u64),
    ) -> Result<Inspector<'a>, LogFault> {
        let point = partition.state.borrow().point.as_ref().map(|point| point.next);
        let (mut known, unsealed, contradiction) = match partition.known_complete(listing).await {
            Err(fault) if fault.kind == FaultKind::Damage => {
                let by_snapshot = partition.known_by_snapshot(listing).await?.next;
                (by_snapshot.max(point.unwrap_or(by_snapshot)), None, Some(fault))
            }
            other => {
                let known = other?;
                (known.next, known.unsealed(), None)
            }
        };
        if listing.repairing {
            known = known.max(partition.read_repairing().await?);
        }
        known = listing.lost_snapshots.iter().fold(known, |known, (offset, _)| known.max(*offset));
        let first = listing.segments.first().map_or(log_start, |(base, _)| *base);
        let is_own = !partition.state.borrow().gaps_allowed();
        let scan = Scan {
            next: first,
            log_start,
            from: known,
            producers: ProducerState::default(),
            succession: partition.tail_of(IndexedBatch::default(), first),
            durable: Position::ZERO,
            observer: Some(Observer::new(is_own)),
        };
        let entries = runtime::list_directory(&partition.directory).await;
        let entries = match entries {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => {
                other.map_err(|error| LogFault::from_io("list", &partition.directory, 0, &error))?
            }
        };
        let names = entries.into_iter().map(|entry| entry.name).collect();
        let result = Inspection {
            id: partition.id.clone(),
            log_start: log_start.max(first),
            end: first,
            segments: listing.segments.len(),
            totals: Totals::default(),
            skipped: 0,
            findings: Vec::new(),
            findings_left_out: 0,
            regions: Vec::new(),
            stale: Vec::new(),
            epochs: Epochs::default(),
            epochs_stale: false,
            doubts_epochs: false,
            producers_at_cut: Vec::new(),
            known,
            is_interrupted: listing.repairing,
        };
        Ok(Inspector {
            partition,
            listing,
            names,
            scan,
            result,
            open: Vec::new(),
            unsealed,
            contradiction,
            progress,
        })
    }

    fn observer(&mut self) -> &mut Observer {
        self.scan.observer.as_mut().expect("made with it")
    }

    /// Looks at the small files, and at whose folder it is.
    async fn look_beside(&mut self) -> Result<(), LogFault> {
        let (partition, directory) = (self.partition, self.partition.directory.clone());
        if self.listing.repairing {
            let path = directory.join(segment::REPAIRING_NAME);
            let reason = "a repair of this partition did not end; it is not served";
            self.tell(FindingKind::Interrupted, &path, reason, Remedy::RepairAgain);
        }
        if partition.is_stray().await? {
            let path = directory.join("partition.metadata");
            let reason = format!(
                "it does not name the topic's id, {}: the partition is not served and, where the file is missing, the \
                 folder is set aside and an empty log begun",
                partition.id.topic_id
            );
            let remedy =
                Remedy::ByHand("write the file anew: `version: 0`, then `topic_id: ` and the id");
            self.tell(FindingKind::Folder, &path, &reason, remedy);
        }
        let known = partition.state.borrow().epochs_known;
        let path = partition.epochs_path();
        let is_there = path
            .file_name()
            .is_some_and(|name| self.names.contains(name.to_string_lossy().as_ref()));
        // Only Kafka's own logs may have come without it.
        if !known && (is_there || !self.listing.foreign) && !self.listing.segments.is_empty() {
            let reason = "the history of leader epochs is missing or damaged";
            self.tell(FindingKind::Epochs, &path, reason, Remedy::RemakeIndexes);
            self.result.epochs_stale = true;
        }
        for (offset, error) in &self.listing.lost_snapshots {
            let path = segment::file_path(&directory, *offset, segment::PRODUCERS_SUFFIX);
            let reason = format!(
                "the snapshot of producers cannot be read: {error}; the partition stays offline"
            );
            let remedy = Remedy::ByHand(
                "look at the device and the kernel log; if it stays so, put a copy of the file there, even a damaged one",
            );
            self.tell(FindingKind::Producers, &path, &reason, remedy);
        }
        for offset in self.listing.snapshots.iter().rev().take(2) {
            let path = segment::file_path(&directory, *offset, segment::PRODUCERS_SUFFIX);
            let bytes = small_file::read_if_whole(&path, ProducerState::SNAPSHOT_BYTES_MAX).await;
            let bytes = bytes.map_err(|error| LogFault::from_io("read", &path, 0, &error))?;
            let decoded = bytes.as_deref().and_then(ProducerState::decode);
            if decoded.is_none_or(|(_, next)| next != *offset) {
                let reason = "the snapshot of producers is damaged";
                let remedy = Remedy::NotNeeded(READ_AGAIN);
                self.tell(FindingKind::Producers, &path, reason, remedy);
            }
        }
        Ok(())
    }

    fn tell(&mut self, kind: FindingKind, path: &Path, reason: &str, remedy: Remedy) {
        let (path, reason) = (path.to_owned(), reason.to_string());
        let finding =
            Finding { kind, path, position: 0, offsets: None, reason, after: None, remedy };
        self.result.add(finding);
    }

    /// A partition without segments.
    fn look_at_nothing(&mut self) {
        let (from, to) = (self.scan.log_start, self.result.known);
        if to > from {
            let reason = format!("no segment is here, but the log was complete up to {to}");
            let fault = LogFault::damage(&self.partition.directory, 0, reason);
            let (start, end) = (Position::ZERO, Position::ZERO);
            let region = Region { segment: from, start, end, from, to, is_given_up: false };
            self.damaged(&fault, region, None);
        }
        self.scan.next = to.max(from);
    }

    // ------------------------------------------------------------ the walk

    async fn walk(&mut self) -> Result<(), LogFault> {
        for (at, (base, bytes)) in self.listing.segments.iter().copied().enumerate() {
            let next_base = self.listing.segments.get(at + 1).map(|(base, _)| *base);
            if at > 0 {
                self.scan.begin_segment(self.partition, IndexedBatch::default(), base);
            }
            if !self.walk_segment(base, bytes, next_base).await? {
                break;
            }
        }
        if let Some(fault) = self.contradiction.take().filter(|_| self.result.regions.is_empty()) {
            // All batches are there, but not as the recovery point says: a start would not serve them.
            let remedy = Remedy::RemakeIndexes;
            let path = fault.path();
            self.tell(FindingKind::RecoveryPoints, &path, &fault.reason, remedy);
        }
        Ok(())
    }

    /// False when the log ends here.
    async fn walk_segment(
        &mut self,
        base: Offset,
        bytes: u64,
        next_base: Option<Offset>,
    ) -> Result<bool, LogFault> {
        let path = self.partition.segment_path(base);
        let fault = |error| LogFault::from_io("open", &path, 0, &error);
        let options = FileOptions { read_only: true, ..FileOptions::default() };
        let file = File::open(&path, options).await.map_err(fault)?;
        let has_index = self.begin_index(base, bytes, next_base).await?;
        let mut segment = Segment { allocated: bytes, ..Segment::empty(base) };
        let mut window = Window::forgiving();
        let mut told = 0;
        let goes_on = loop {
            let ending = self.next_ending(&file, &mut segment, next_base, &mut window).await?;
            self.tell_progress(segment.end.0, &mut told);
            match ending {
                Ending::Whole => break true,
                Ending::Torn(last) => {
                    self.torn(&segment, last, next_base);
                    break false;
                }
                Ending::Damaged(fault) => {
                    let goes_on = self.pass(&file, &mut segment, next_base, &fault, &mut window);
                    if !goes_on.await? {
                        break true;
                    }
                }
            }
            if self.result.regions.len() >= REGIONS_MAX {
                break false;
            }
        };
        self.tell_progress(bytes, &mut told);
        file.close().await.map_err(fault)?;
        self.end_index(&segment, next_base, has_index);
        self.tell_breaks(&segment);
        Ok(goes_on)
    }

    fn tell_progress(&self, at: u64, told: &mut u64) {
        (self.progress)(at.saturating_sub(*told));
        *told = at.max(*told);
    }

    /// Walks up to where whole batches end, and says as what a start would take that.
    async fn next_ending(
        &mut self,
        file: &File,
        segment: &mut Segment,
        next_base: Option<Offset>,
        window: &mut Window,
    ) -> Result<Ending, LogFault> {
        let partition = self.partition;
        let stop = partition.scan_batches_of(file, segment, &mut self.scan, window).await?;
        let scan = &self.scan;
        let judged = match next_base {
            Some(next) => {
                let whole = partition.judge_rolled(file, segment, scan, stop, next, window).await;
                whole.map(|whole| (!whole).then_some(Position(segment.allocated)))
            }
            None => partition.judge_tail(file, segment, scan, stop, window).await,
        };
        if let Some(unreadable) = window.unreadable_from(segment.end) {
            let path = partition.segment_path(segment.base);
            let reason = format!("byte {}: {}", unreadable.position, unreadable.reason);
            return Ok(Ending::Damaged(LogFault::damage(&path, segment.end.0, reason)));
        }
        match judged {
            Ok(None) => Ok(Ending::Whole),
            Ok(Some(last)) => Ok(Ending::Torn(last)),
            Err(fault) if fault.kind == FaultKind::Damage => Ok(Ending::Damaged(fault)),
            Err(fault) => Err(fault),
        }
    }

    fn torn(&mut self, segment: &Segment, last: Position, next_base: Option<Offset>) {
        let bytes = last.0.saturating_sub(segment.end.0);
        let more = match next_base {
            Some(next) => format!("; the segments from {next} on are removed with it"),
            None => String::new(),
        };
        let reason =
            format!("{bytes} bytes after the last whole batch are what a crash left{more}");
        self.result.add(Finding {
            kind: FindingKind::TornTail,
            path: self.partition.segment_path(segment.base),
            position: segment.end.0,
            offsets: None,
            reason,
            after: None,
            remedy: Remedy::NotNeeded(CUT_AT_START),
        });
    }

    /// Tells of damage, and goes to the next whole batch behind it. False when the segment has none.
    async fn pass(
        &mut self,
        file: &File,
        segment: &mut Segment,
        next_base: Option<Offset>,
        fault: &LogFault,
        window: &mut Window,
    ) -> Result<bool, LogFault> {
        let (start, from) = (segment.end, self.scan.next);
        let path = self.partition.segment_path(segment.base);
        let failed = |error| LogFault::from_io("read", &path, start.0, &error);
        let there = whole_at(file, start, segment.allocated, window).await.map_err(failed)?;
        self.result.doubts_epochs |= there.is_some_and(|header| header.base_offset == from);
        let found = self.find_later(file, segment, next_base, window).await.map_err(failed)?;
        let rest = next_base.unwrap_or_else(|| from.max(self.scan.from));
        let (end, to, is_given_up) = match found {
            Later::At(position, base) => (position, base, false),
            Later::Nowhere => (Position(segment.allocated), rest, false),
            Later::GivenUp => (Position(segment.allocated), rest, true),
        };
        let position = matches!(found, Later::At(..)).then_some(end.0);
        let region = Region { segment: segment.base, start, end, from, to, is_given_up };
        self.damaged(fault, region, position);
        self.scan.next = to.max(from);
        if position.is_none() {
            return Ok(false);
        }
        segment.end = end;
        self.partition.learn_epochs(self.scan.succession.epochs());
        let succession = self.partition.tail_of(IndexedBatch::default(), segment.base);
        self.scan.succession = succession.after(to);
        Ok(true)
    }

    fn damaged(&mut self, fault: &LogFault, region: Region, position: Option<u64>) {
        let next = self.scan.next;
        if self.result.regions.is_empty() {
            self.result.producers_at_cut = self.observer().producers.encode(next);
        }
        self.observer().note_gap();
        let seen = self.observer().totals;
        let last = Offset(region.to.0.saturating_sub(1));
        let can_be_skipped = region.can_be_skipped();
        self.open.push((self.result.findings.len(), seen));
        self.result.add(Finding {
            kind: FindingKind::Damage,
            path: fault.path(),
            position: fault.position,
            offsets: (last >= region.from).then_some((region.from, last)),
            reason: fault.reason.clone(),
            after: Some(After { position, totals: Totals::default() }),
            remedy: if can_be_skipped { Remedy::SkipOrCut } else { Remedy::Cut },
        });
        self.result.regions.push(region);
    }

    // ------------------------------------------------------------ behind damage

    /// Where whole batches go on: at the next one that is followed as it should be, or at one before that if it
    /// stands alone.
    async fn find_later(
        &mut self,
        file: &File,
        segment: &Segment,
        next_base: Option<Offset>,
        window: &mut Window,
    ) -> io::Result<Later> {
        let (length, next) = (segment.allocated, self.scan.next);
        let gaps_allowed = self.partition.state.borrow().gaps_allowed();
        let accepts = |header: &BatchHeader| {
            let records = i64::from(header.record_count);
            let offsets = i64::from(header.last_offset_delta) + 1;
            let is_dense =
                records == offsets || records == 0 || (gaps_allowed && records < offsets);
            let is_before = next_base.is_none_or(|next| header.next_offset() <= next);
            header.base_offset >= next && is_before && records >= 0 && is_dense
        };
        // Where its own header says that the damaged batch ends, if only its records are damaged.
        let head = window.batch_at(file, segment.end, length).await?;
        if let Some(end) = head
            .and_then(|head| BatchHeader::parse(&head).ok())
            .map(|header| segment.end + header.batch_bytes as u64)
            && let Some(header) = whole_at(file, end, length, window).await?
            && accepts(&header)
        {
            return Ok(Later::At(end, header.base_offset));
        }
        if window.last_nonzero(file, segment.end, length).await?.is_none() {
            return Ok(Later::Nowhere);
        }
        // A batch may end with zeros.
        let last = Position(length.saturating_sub(1));
        let mut first: Option<(Position, BatchHeader)> = None;
        let (mut at, mut left) = (segment.end + 1, SEARCH_BYTES_MAX);
        loop {
            let found = window.find_batch(file, at, last, accepts, left).await?;
            let Some(position) = found else { break };
            left = left.saturating_sub((position - at) as usize + BATCH_HEADER_BYTES);
            let Some(header) = whole_at(file, position, length, window).await? else {
                return Ok(first.map_or(Later::GivenUp, |(at, h)| Later::At(at, h.base_offset)));
            };
            let end = position + header.batch_bytes as u64;
            let is_followed = match window.batch_at(file, end, length).await? {
                None => true,
                Some(bytes) => batch::parse_whole(&bytes).is_ok_and(|following| {
                    following.base_offset == header.next_offset()
                        || (gaps_allowed && following.base_offset > header.next_offset())
                }),
            };
            if is_followed {
                let alone = first.filter(|(_, alone)| alone.next_offset() <= header.base_offset);
                let (position, header) = alone.unwrap_or((position, header));
                return Ok(Later::At(position, header.base_offset));
            }
            first = first.or(Some((position, header)));
            at = position + 1;
        }
        Ok(first.map_or(Later::Nowhere, |(at, header)| Later::At(at, header.base_offset)))
    }

    // ------------------------------------------------------------ beside the batches

    /// False when the segment has no index that can be read, though it should.
    async fn begin_index(
        &mut self,
        base: Offset,
        bytes: u64,
        next_base: Option<Offset>,
    ) -> Result<bool, LogFault> {
        let read = self.partition.read_index(base, Position(bytes)).await;
        let index = match read {
            Err(fault) if fault.kind == FaultKind::Device => None,
            other => other?,
        };
        let is_exact = !self.listing.foreign;
        if let Some(index) = index {
            self.observer().begin_index(index, is_exact);
            return Ok(true);
        }
        // A crash may leave one of the two files, or a torn end. The next start makes them anew where it reads.
        Ok(!self.is_sealed(base, next_base))
    }

    /// Whether the segment was made complete, with its indexes.
    fn is_sealed(&self, base: Offset, next_base: Option<Offset>) -> bool {
        next_base.is_some_and(|next| next <= self.scan.from) && self.unsealed != Some(base)
    }

    /// Tells of an index of a whole segment: what an index says of damage, or of what power loss took, is no fault
    /// of the index.
    fn end_index(&mut self, segment: &Segment, next_base: Option<Offset>, is_readable: bool) {
        let is_sealed = self.is_sealed(segment.base, next_base);
        let is_own = !self.listing.foreign;
        let max = segment.max_timestamp.filter(|_| is_sealed && is_own);
        let wrong = self.observer().end_index(max);
        let is_whole = self.result.regions.last().is_none_or(|last| last.segment != segment.base);
        let (position, suffix, reason) = match wrong {
            _ if !is_whole => return,
            None if is_readable => return,
            None => {
                let reason = "the indexes of this segment are missing or damaged".to_string();
                (0, segment::INDEX_SUFFIX, reason)
            }
            Some(_) if self.listing.unsynced => return,
            Some(wrong) if wrong.in_times => {
                (wrong.position, segment::TIME_INDEX_SUFFIX, wrong.reason)
            }
            Some(wrong) => (wrong.position, segment::INDEX_SUFFIX, wrong.reason),
        };
        self.result.stale.push(segment.base);
        self.result.add(Finding {
            kind: FindingKind::Index,
            path: segment::file_path(&self.partition.directory, segment.base, suffix),
            position,
            offsets: None,
            reason,
            after: None,
            remedy: Remedy::RemakeIndexes,
        });
    }

    fn tell_breaks(&mut self, segment: &Segment) {
        for Break { position, offsets, reason } in std::mem::take(&mut self.observer().breaks) {
            self.result.add(Finding {
                kind: FindingKind::Sequence,
                path: self.partition.segment_path(segment.base),
                position: position.0,
                offsets: Some(offsets),
                reason,
                after: None,
                remedy: Remedy::NotNeeded("the records are served as they are"),
            });
        }
    }

    fn finish(mut self) -> Inspection {
        let totals = self.observer().totals;
        for (at, seen) in self.open {
            let after = self.result.findings.get_mut(at).and_then(|found| found.after.as_mut());
            if let Some(after) = after {
                after.totals = totals.since(seen);
            }
        }
        self.result.totals = totals;
        self.result.skipped = self.scan.observer.as_ref().map_or(0, |seen| seen.skipped);
        self.result.epochs = self.scan.succession.epochs();
        self.result.end = self.scan.next.max(self.result.log_start);
        self.result
    }
}

/// The header of a whole batch at a position.
async fn whole_at(
    file: &File,
    position: Position,
    length: u64,
    window: &mut Window,
) -> io::Result<Option<BatchHeader>> {
    let bytes = window.batch_at(file, position, length).await?;
    Ok(bytes.and_then(|bytes| batch::parse_whole(&bytes).ok()))
}
