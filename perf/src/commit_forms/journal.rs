//! The form of a journal: one file on this core carries the batches of all partitions and acknowledges them; their
//! segments are written afterwards, in large pieces.
//!
//! Batches that wait are gathered into one write of frames, which is durable when it ends. Acknowledgements go in
//! the order of the writes, because a start reads the journal up to its first hole. From then on a batch stays in the
//! memory that it was written from until its segment has it. When a region of the ring is full, what it holds goes to
//! the segments while the next one fills, no faster than it has to; then it is free.
//!
//! What a journal within the log would have to do for each batch is done here: the checks of an append, the copy, the
//! frame, the places. It has no index, no producers, no recovery points and no readers.

use super::drive::Counts;
use super::files::{OPENED_AT_ONCE, write_zeros};
use super::frame::{self, FRAME_BYTES, Frame, FrameHeader, Frames};
use super::ring::Ring;
use super::tail::{ALLOCATE_BYTES_MIN, Piece, Tail};
use super::{CommitForms, JournalForm, Lazy, TOPIC_ID, partition_folder};
use bytes::Bytes;
use corelog::limits::BLOCK_BYTES;
use corelog::log::segment;
use corelog::runtime::buffer::{AlignedBuffer, SharedBuffer};
use corelog::runtime::{self, Event, File, FileOptions, Filler, Instant, Line};
use corelog::types::Offset;
use corelog::wire::batch;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

const FILE_NAME: &str = "journal";
const LEADER_EPOCH: i32 = 0;
/// A region is empty when so much of the next one is full: what is late has the rest.
const EMPTIED_BY: f64 = 0.8;
/// How often it is looked whether sync(1) is through.
const SYNC_POLL: Duration = Duration::from_micros(500);
/// The journal is read back by so many bytes at once.
const READ_BYTES: u64 = 1 << 20;

pub struct Journal {
    form: JournalForm,
    folder: PathBuf,
    batch: Bytes,
    file: File,
    /// The segments' files, by partition.
    files: Vec<File>,
    state: RefCell<State>,
    writers: Line,
    lazy_writers: Line,
    /// Pieces that were written.
    pieces_ended: Event,
}

struct State {
    ring: Ring,
    /// By place in the file.
    regions: Vec<Region>,
    tails: Vec<Tail>,
    /// Batches that were offered and are in no write yet.
    waiting: VecDeque<Waiting>,
    /// Of the next frame.
    sequence: u64,
    /// Writes that were begun, and that were acknowledged.
    begun: u64,
    acknowledged: u64,
    /// Writes that are durable before an earlier one is, by number.
    early: BTreeMap<u64, Written>,
    emptying: Option<Emptying>,
    pieces_in_flight: usize,
    is_stopping: bool,
    stalled_since: Option<Instant>,
    counts: Counts,
    failed: Option<io::Error>,
}

struct Waiting {
    partition: usize,
    base_offset: Offset,
    checksum: u32,
    batch: Bytes,
    filler: Filler<()>,
}

/// A write to the journal.
struct Written {
    number: u64,
    region: u64,
    position: u64,
    buffer: SharedBuffer,
    batches: Vec<InJournal>,
}

/// A batch within it.
struct InJournal {
    partition: usize,
    place: Range<usize>,
    filler: Filler<()>,
}

/// What a region of the ring holds in this lap.
struct Region {
    number: u64,
    salt: u64,
    frames: u64,
    /// Bytes of batches that are acknowledged, and their partitions, each once.
    bytes: u64,
    partitions: Vec<usize>,
    writes_in_flight: usize,
}

impl Region {
    fn begun(number: u64) -> Region {
        let (salt, partitions) = (runtime::random_u64(), Vec::new());
        Region { number, salt, frames: 0, bytes: 0, partitions, writes_in_flight: 0 }
    }
}

/// The region whose batches go to their segments.
struct Emptying {
    region: u64,
    /// Partitions with something in it that no lazy writer has, and how many are not through.
    partitions: VecDeque<usize>,
    left: usize,
    /// Bytes that it began with, and those that are in a segment or on their way.
    bytes: u64,
    taken: u64,
    /// How far the ring was filled when it began.
    began: u64,
}

struct Claimed {
    partition: usize,
    piece: Piece,
}

/// What a start would find in the journal, and how long it would read.
#[derive(Clone, Copy, Debug)]
pub struct ReadBack {
    pub batches: u64,
    pub took: Duration,
}

impl Journal {
    /// Makes the journal's file, all of whose blocks were written before, and an empty segment of each partition.
    ///
    /// # Errors
    /// As the system calls.
    pub async fn start(
        given: &CommitForms,
        batch: Bytes,
        folder: &Path,
    ) -> io::Result<Rc<Journal>> {
        let form = given.journal;
        let path = folder.join(FILE_NAME);
        write_zeros(&path, form.journal_bytes.0).await?;
        let synced = FileOptions { sync_on_write: true, ..FileOptions::default() };
        let regions = form.regions as u64;
        let state = State {
            ring: Ring::new(regions, form.journal_bytes.0 / regions),
            regions: (0..regions).map(Region::begun).collect(),
            tails: (0..given.partitions).map(|_| Tail::new()).collect(),
            waiting: VecDeque::new(),
            sequence: 0,
            begun: 0,
            acknowledged: 0,
            early: BTreeMap::new(),
            emptying: None,
            pieces_in_flight: 0,
            is_stopping: false,
            stalled_since: None,
            counts: Counts::default(),
            failed: None,
        };
        let journal = Rc::new(Journal {
            form,
            folder: folder.to_path_buf(),
            batch,
            file: File::open(&path, synced).await?,
            files: make_segments(folder, given.partitions, form.lazy == Lazy::Dsync).await?,
            state: RefCell::new(state),
            writers: Line::default(),
            lazy_writers: Line::default(),
            pieces_ended: Event::default(),
        });
        for _ in 0..form.depth {
            drop(runtime::spawn(journal.clone().write()));
        }
        // Of the commits' own class: what waits for a free region waits for them.
        for _ in 0..form.lazy_writers {
            drop(runtime::spawn(journal.clone().write_segments()));
        }
        Ok(journal)
    }

    /// Gives the batch its offsets. The future is through when it is durable.
    ///
    /// # Errors
    /// The journal failed.
    pub fn offer(
        &self,
        partition: usize,
    ) -> io::Result<impl Future<Output = io::Result<()>> + use<>> {
        // As an append to the log checks what a producer sent, and knows its checksum from then on.
        let header = batch::parse_produced(&self.batch).map_err(io::Error::other)?;
        let (filler, slot) = runtime::slot();
        {
            let mut state = self.state.borrow_mut();
            if state.failed.is_some() {
                return Err(lost());
            }
            let tail = &mut state.tails[partition];
            let base_offset = tail.next_offset;
            tail.next_offset = base_offset.advanced_by(i64::from(header.last_offset_delta) + 1);
            let (checksum, batch) = (header.crc, self.batch.clone());
            let waiting = Waiting { partition, base_offset, checksum, batch, filler };
            state.waiting.push_back(waiting);
        }
        self.writers.wake_first();
        Ok(async move { slot.await.ok_or_else(lost) })
    }

    pub fn counts(&self) -> Counts {
        self.state.borrow().counts
    }

    /// What is behind an error that `offer` or its future gave.
    pub fn cause(&self, error: io::Error) -> io::Error {
        self.state.borrow_mut().failed.take().unwrap_or(error)
    }

    fn fail(&self, error: io::Error) {
        let mut state = self.state.borrow_mut();
        state.failed.get_or_insert(error);
        // Whoever waits is told by this.
        state.waiting.clear();
        state.early.clear();
    }

    // ------------------------------------------------------------ claim, write, settle

    /// One of the writers to the journal.
    async fn write(self: Rc<Self>) {
        loop {
            let written = self.writers.wait(|| self.claim()).await;
            // What the lazy writers may do goes by what is full.
            self.lazy_writers.wake_first();
            match self.file.write_at(&written.buffer, written.position).await {
                Ok(()) => self.settle(written),
                Err(error) => return self.fail(error),
            }
        }
    }

    /// Gathers what waits into the next write, if there is a place for it.
    fn claim(&self) -> Option<Written> {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let lengths = state.waiting.iter().map(|waiting| FRAME_BYTES + waiting.batch.len());
        let (count, bytes) = gather(lengths, self.form.gather_bytes.0 as usize);
        if count == 0 {
            return None;
        }
        let length = bytes.next_multiple_of(BLOCK_BYTES);
        let Some(place) = state.ring.reserve(length as u64) else {
            state.stalled_since.get_or_insert_with(runtime::now);
            drop(guard);
            self.lazy_writers.wake_first();
            return None;
        };
        if let Some(since) = state.stalled_since.take() {
            state.counts.stalls += 1;
            state.counts.stalled += runtime::now().since(since);
        }
        let region = state.region(place.region);
        let salt = region.salt;
        region.frames += count as u64;
        region.writes_in_flight += 1;
        let mut buffer = AlignedBuffer::allocate(length);
        let target = buffer.as_mut_slice();
        let (mut at, mut batches) = (0, Vec::with_capacity(count));
        for waiting in state.waiting.drain(..count) {
            let Waiting { partition, base_offset, checksum, batch, filler } = waiting;
            let place = at + FRAME_BYTES..at + FRAME_BYTES + batch.len();
            let header = FrameHeader {
                salt,
                sequence: state.sequence,
                base_offset,
                topic_id: TOPIC_ID,
                partition: partition as i32,
                batch_bytes: batch.len() as u32,
                leader_epoch: LEADER_EPOCH,
                batch_checksum: checksum,
            };
            frame::write(&mut target[at..place.end], &header, &batch);
            state.sequence += 1;
            at = place.end;
            batches.push(InJournal { partition, place, filler });
        }
        target[at..].fill(0);
        let (number, buffer) = (state.begun, buffer.freeze());
        state.begun += 1;
        Some(Written { number, region: place.region, position: place.position, buffer, batches })
    }

    /// Takes up a write that is durable; its batches are acknowledged once all before it are.
    fn settle(&self, written: Written) {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        state.counts.writes += 1;
        state.counts.syncs += 1;
        state.early.insert(written.number, written);
        while let Some(next) = state.early.remove(&state.acknowledged) {
            state.acknowledged += 1;
            state.acknowledge(next);
        }
        state.begin_to_empty();
        drop(guard);
        self.lazy_writers.wake_first();
    }

    // ------------------------------------------------------------ to the segments

    /// One of the writers to the segments.
    async fn write_segments(self: Rc<Self>) {
        loop {
            let claimed = self.lazy_writers.wait(|| self.claim_piece()).await;
            let written = self.write_piece(&claimed).await;
            self.state.borrow_mut().pieces_in_flight -= 1;
            self.pieces_ended.notify();
            if let Err(error) = written {
                return self.fail(error);
            }
            self.lazy_writers.wake_first();
        }
    }

    /// The next piece, if it is time for it.
    fn claim_piece(&self) -> Option<Claimed> {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let emptying = state.emptying.as_mut()?;
        let filled = state.ring.filled() - emptying.began;
        let share = filled as f64 / state.ring.region_bytes() as f64;
        let is_due = state.stalled_since.is_some() || emptying.is_due(share);
        if state.is_stopping || !is_due {
            return None;
        }
        let partition = emptying.partitions.pop_front()?;
        let bytes_max = self.form.piece_bytes.0 as usize;
        let piece = state.tails[partition].take(emptying.region, bytes_max);
        emptying.taken += piece.log_bytes;
        state.pieces_in_flight += 1;
        Some(Claimed { partition, piece })
    }

    async fn write_piece(&self, claimed: &Claimed) -> io::Result<()> {
        let (file, piece, lazy) = (&self.files[claimed.partition], &claimed.piece, self.form.lazy);
        if let Some(length) = piece.allocate {
            file.allocate(length).await?;
        }
        file.write_at(&piece.buffer, piece.position).await?;
        let is_synced_alone = lazy == Lazy::Sync && piece.is_last;
        if is_synced_alone {
            file.sync().await?;
        }
        let syncs = u64::from(is_synced_alone || lazy == Lazy::Dsync);
        let is_empty = self.state.borrow_mut().settle_piece(claimed, syncs);
        if !is_empty {
            return Ok(());
        }
        if lazy == Lazy::Syncfs {
            sync_file_system(&self.folder).await?;
            self.state.borrow_mut().counts.syncs += 1;
        }
        self.state.borrow_mut().end_emptying();
        self.writers.wake_first();
        Ok(())
    }

    // ------------------------------------------------------------ the end

    /// Begins no piece any more, and waits for those that were begun.
    pub async fn stop(&self) {
        self.state.borrow_mut().is_stopping = true;
        loop {
            let seen = self.pieces_ended.count();
            if self.state.borrow().pieces_in_flight == 0 {
                return;
            }
            self.pieces_ended.after(seen).await;
        }
    }

    /// Reads all of the journal as a start would, when nothing is offered any more: every frame has to be there, and
    /// the frames of a partition have to follow each other up to its last batch.
    ///
    /// # Errors
    /// As the system calls, or what is not as it should be.
    pub async fn read_back(&self) -> io::Result<ReadBack> {
        let began = runtime::now();
        let frames = self.frames().await?;
        let took = runtime::now().since(began);
        let state = self.state.borrow();
        let mut ends: Vec<Option<Offset>> = vec![None; state.tails.len()];
        for frame in &frames {
            let end = &mut ends[frame.header.partition as usize];
            if end.is_some_and(|end| end != frame.header.base_offset) {
                return Err(wrong(format!("the end is {end:?} before {frame:?}")));
            }
            *end = Some(frame.next_offset);
        }
        for (partition, (end, tail)) in ends.iter().zip(&state.tails).enumerate() {
            if end.is_some_and(|end| end != tail.next_offset) {
                return Err(wrong(format!("partition {partition} ends at {end:?}")));
            }
        }
        Ok(ReadBack { batches: frames.len() as u64, took })
    }

    /// The frames of all regions, oldest first.
    ///
    /// # Errors
    /// As the system calls, or that a region has not all of its frames.
    pub async fn frames(&self) -> io::Result<Vec<Frame>> {
        let of_regions = |region: &Region| (region.number, region.frames as usize);
        let mut regions: Vec<_> = self.state.borrow().regions.iter().map(of_regions).collect();
        regions.sort_unstable();
        let mut frames = Vec::new();
        for (region, expected) in regions {
            let before = frames.len();
            frames.extend(Frames::of(&self.read_region(region).await?));
            let found = frames.len() - before;
            if found != expected {
                return Err(wrong(format!("region {region} has {found} frames of {expected}")));
            }
        }
        Ok(frames)
    }

    async fn read_region(&self, region: u64) -> io::Result<Vec<u8>> {
        let regions = self.form.regions as u64;
        let region_bytes = self.form.journal_bytes.0 / regions;
        let start = region % regions * region_bytes;
        let mut bytes = Vec::with_capacity(region_bytes as usize);
        while (bytes.len() as u64) < region_bytes {
            let at = bytes.len() as u64;
            let length = (region_bytes - at).min(READ_BYTES);
            let read = self.file.read_at(start + at, length as usize).await?;
            if read.is_empty() {
                return Err(wrong(format!("it ends at {}", start + at)));
            }
            bytes.extend_from_slice(&read);
        }
        Ok(bytes)
    }
}

impl State {
    fn place_of(&self, region: u64) -> usize {
        (region % self.regions.len() as u64) as usize
    }

    /// The region that was given a place; its lap begins with the first.
    fn region(&mut self, number: u64) -> &mut Region {
        let place = self.place_of(number);
        if self.regions[place].number != number {
            self.regions[place] = Region::begun(number);
        }
        &mut self.regions[place]
    }

    fn acknowledge(&mut self, written: Written) {
        let place = self.place_of(written.region);
        let region = &mut self.regions[place];
        region.writes_in_flight -= 1;
        for InJournal { partition, place, filler } in written.batches {
            region.bytes += place.len() as u64;
            if self.tails[partition].add(written.region, written.buffer.slice(place)) {
                region.partitions.push(partition);
            }
            filler.fill(());
        }
    }

    /// Has the oldest region emptied, once nothing is written to it any more.
    fn begin_to_empty(&mut self) {
        let Some(number) = self.ring.oldest_full() else { return };
        let place = self.place_of(number);
        let region = &mut self.regions[place];
        if self.emptying.is_some() || region.writes_in_flight > 0 {
            return;
        }
        let partitions = VecDeque::from(std::mem::take(&mut region.partitions));
        let (left, bytes, began) = (partitions.len(), region.bytes, self.ring.filled());
        self.emptying = Some(Emptying { region: number, partitions, left, bytes, taken: 0, began });
    }

    /// True when it was the last of its region.
    fn settle_piece(&mut self, claimed: &Claimed, syncs: u64) -> bool {
        self.counts.writes += 1;
        self.counts.pieces += 1;
        self.counts.syncs += syncs;
        let emptying = self.emptying.as_mut().expect("a piece is of the region that is emptied");
        if claimed.piece.is_last {
            emptying.left -= 1;
        } else {
            emptying.partitions.push_front(claimed.partition);
        }
        emptying.left == 0
    }

    fn end_emptying(&mut self) {
        self.emptying = None;
        self.counts.regions += 1;
        self.ring.free_oldest();
        self.begin_to_empty();
    }
}

impl Emptying {
    /// Whether another piece may be written, when so large a share of a region was filled since: the device has to have
    /// time for commits all along, not only when all is done.
    fn is_due(&self, share: f64) -> bool {
        self.taken as f64 <= self.bytes as f64 * share / EMPTIED_BY
    }
}

/// How many of the first fit into a write of so many bytes, and their bytes; one does in any case.
fn gather(lengths: impl Iterator<Item = usize>, bytes_max: usize) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    for length in lengths {
        if count > 0 && bytes + length > bytes_max {
            break;
        }
        (count, bytes) = (count + 1, bytes + length);
    }
    (count, bytes)
}

/// An empty segment of each partition, in a folder of its own, with the space that the log gives one.
async fn make_segments(
    folder: &Path,
    partitions: usize,
    sync_on_write: bool,
) -> io::Result<Vec<File>> {
    let making = (0..partitions).map(|partition| async move {
        let directory = partition_folder(folder, partition);
        runtime::create_directory_all(&directory).await?;
        let path = segment::file_path(&directory, Offset::ZERO, segment::LOG_SUFFIX);
        let options = FileOptions { create_new: true, sync_on_write, ..FileOptions::default() };
        let file = File::open(&path, options).await?;
        file.allocate(ALLOCATE_BYTES_MIN).await?;
        file.sync().await?;
        Ok::<_, io::Error>(file)
    });
    stream::iter(making).buffered(OPENED_AT_ONCE).try_collect().await
}

/// syncfs(2) by sync(1), which the runtime has no call for. What that process takes of the CPU is not counted.
async fn sync_file_system(folder: &Path) -> io::Result<()> {
    let mut command = Command::new("sync");
    command.arg("-f").arg(folder);
    let syncing = std::thread::spawn(move || command.status());
    while !syncing.is_finished() {
        runtime::sleep(SYNC_POLL).await;
    }
    let status = syncing.join().map_err(|_| io::Error::other("its thread panicked"))??;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("sync -f: {status}"))) }
}

fn lost() -> io::Error {
    io::Error::other("the journal failed")
}

fn wrong(what: String) -> io::Error {
    io::Error::other(format!("the journal is not what was written: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_gathers_what_fits_and_one_batch_in_any_case() {
        let check = |lengths: &[usize], expect| {
            assert_eq!(gather(lengths.iter().copied(), 100), expect, "{lengths:?}");
        };
        check(&[], (0, 0));
        check(&[40, 60], (2, 100));
        check(&[40, 60, 1], (2, 100));
        check(&[40, 61, 1], (1, 40));
        check(&[170, 1], (1, 170));
    }

    #[test]
    fn a_region_is_emptied_as_the_next_one_fills_and_before_it_is_full() {
        let mut emptying = Emptying {
            region: 0,
            partitions: VecDeque::new(),
            left: 100,
            bytes: 1000,
            taken: 0,
            began: 0,
        };
        // As many pieces of a hundredth as are due each time that another hundredth was filled.
        let mut taken = Vec::new();
        for filled in 0..=100 {
            while emptying.taken < emptying.bytes && emptying.is_due(f64::from(filled) / 100.0) {
                emptying.taken += 10;
            }
            taken.push(emptying.taken);
        }
        assert_eq!((taken[0], taken[41], taken[81]), (10, 520, 1000));
        assert!(taken.is_sorted_by(|a, b| a <= b && b - a <= 20), "{taken:?}");
    }
}
