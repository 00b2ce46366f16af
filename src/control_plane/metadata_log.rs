//! The metadata log: every change of the cluster-wide facts, in order, on disk. Their state is its fold.
//! Lives on shard 0, owned by the controller; one writer, no reader but the start.
//!
//! ```text
//! <data>/metadata.log
//! frame    length u32 | crc32 u32 | payload        integers are big-endian; the crc covers the payload
//! payload  sequence i64 | records                  see `record`; the first record of all is Format
//! seal     a frame without records, in one sector
//! ```
//!
//! Frames follow each other; their sequence numbers count up from 0 without a gap. The file is written in
//! whole blocks with direct I/O: the last block is kept in memory and written again with what is added
//! to it, and each frame is synced before the next is written. So after a crash at most the last frame is
//! torn, which nobody was told of: it is cut. A bad frame before a good one is damage, and then the broker
//! does not start. Zeros after the last frame are its end: space is kept there, so that on a full disk topics
//! and records can still be deleted.
//!
//! A frame that was acknowledged and is damaged later must not look like a torn one. So it gets another behind it:
//! the next one, or a seal, which is written once nothing else has come for a while, by a stop, by the next start,
//! and at the end of a log written anew. A device writes a sector whole or not at all, so a seal is never torn, nor
//! is any frame within one sector: what is bad there is damage. Only a frame that goes on in another sector, has no
//! other behind it yet and is damaged so that some of it could be missing is taken for a torn one.

use super::record::{FORMAT_VERSION, Record, RecordError};
use super::state::State;
use crate::config::Config;
use crate::limits::BLOCK_BYTES;
use crate::log::planted::{self, Bug};
use crate::log::small_file;
use crate::runtime::buffer::AlignedBuffer;
use crate::runtime::{self, File, FileOptions};
use crate::types::TopicId;
use crate::wire::{Decoder, Encoder};
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};

pub const FILE_NAME: &str = "metadata.log";

const FRAME_HEADER_BYTES: usize = 8;
const SEQUENCE_BYTES: usize = 8;
const SEAL_BYTES: usize = FRAME_HEADER_BYTES + SEQUENCE_BYTES;
/// What a device writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// A frame is closed when it has grown to this; one record may be larger.
const FRAME_BYTES_WISHED: usize = 1 << 20;
/// Longer than any frame can be: the largest record is a topic with all its partitions and settings.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// The log is written anew when it is this long and many times longer than what the state needs.
const REWRITE_BYTES_MIN: u64 = 1 << 20;
const REWRITE_FACTOR: u64 = 4;
/// Space kept behind the last frame, and how little of it is left when more is.
const RESERVE_BYTES: u64 = if cfg!(test) { 64 << 10 } else { 4 << 20 };
const RESERVE_BYTES_MIN: u64 = RESERVE_BYTES / 2;
/// Beyond this the log cannot have been written by us.
const LOG_BYTES_MAX: usize = 1 << 32;

/// Why the metadata log cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataLogError {
    #[error("cannot {operation} {path}: {reason}")]
    Io { operation: &'static str, path: String, kind: io::ErrorKind, reason: String },
    #[error(
        "{path} is damaged at byte {position}: {reason}; restore the file from a copy (`corelog doctor data` looks at the rest); nothing was changed"
    )]
    Damaged { path: String, position: u64, reason: String },
    #[error(
        "{path} has format {found}, this version of corelog reads up to {FORMAT_VERSION}: start a newer version"
    )]
    NewerFormat { path: String, found: u32 },
    #[error(
        "{path} belongs to {what} '{found}', the configuration says '{wanted}': use the data directory's own, or another directory"
    )]
    Foreign { path: String, what: &'static str, found: String, wanted: String },
}

impl MetadataLogError {
    /// The disk is full, which passes: nothing was lost.
    pub fn is_storage_full(&self) -> bool {
        matches!(
            self,
            MetadataLogError::Io {
                kind: io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded,
                operation,
                ..
            } if *operation != SYNC
        )
    }

    pub(super) fn io(operation: &'static str, path: &Path, error: &io::Error) -> MetadataLogError {
        let path = path.display().to_string();
        MetadataLogError::Io { operation, path, kind: error.kind(), reason: error.to_string() }
    }
}

/// A failed sync is never tried again, whatever it says (design: the contract, point 5).
const SYNC: &str = "sync";

/// 16 random bytes as Kafka's `Uuid.randomUuid`: version 4, never zero, and not beginning with '-' in
/// base64, which command lines would take for an option.
pub fn random_id() -> TopicId {
    loop {
        let number = u128::from(runtime::random_u64()) << 64 | u128::from(runtime::random_u64());
        let mut id = number.to_be_bytes();
        id[6] = id[6] & 0x0f | 0x40;
        id[8] = id[8] & 0x3f | 0x80;
        if !TopicId(id).to_base64().starts_with('-') {
            return TopicId(id);
        }
    }
}

/// The log, open for appending.
pub struct MetadataLog {
    path: PathBuf,
    file: File,
    /// Bytes of whole, synced frames.
    end: u64,
    /// Length of the file, zeros behind the frames included.
    allocated: u64,
    /// Those of them after the last block boundary.
    tail: Vec<u8>,
    next_sequence: i64,
    /// The last frame is a seal.
    is_sealed: bool,
    /// What the state needed when the log was last written anew.
    rewritten_bytes: u64,
}

impl MetadataLog {
    /// Opens the log of a data directory, or begins one, and folds what it says.
    ///
    /// # Errors
    /// Damage, a newer format, another cluster's or node's data, or what the system says.
    pub async fn open(
        directory: &Path,
        config: &Config,
    ) -> Result<(MetadataLog, State), MetadataLogError> {
        let path = directory.join(FILE_NAME);
        let read = small_file::read(&path, LOG_BYTES_MAX).await;
        let read = read.map_err(|error| MetadataLogError::io("read", &path, &error))?;
        let bytes = match read {
            Some(bytes) => bytes,
            None => begin(&path, config).await?,
        };
        let bytes = Bytes::from(bytes);
        let folded = fold(&path, &bytes, config)?;
        check_identity(&path, &folded.state, config)?;
        let file = open_file(&path).await?;
        let (whole, end) = (bytes.len() as u64, folded.end as u64);
        if folded.is_torn {
            tracing::warn!(path = %path.display(), end, cut_bytes = whole - end,
                "cut a torn tail after the last whole frame of the metadata log");
            cut(&path, &file, end).await?;
        }
        let block = folded.end / BLOCK_BYTES * BLOCK_BYTES;
        let allocated = if folded.is_torn { end } else { whole };
        let mut log = MetadataLog {
            path,
            file,
            end,
            allocated,
            tail: bytes[block..folded.end].to_vec(),
            next_sequence: folded.next_sequence,
            is_sealed: folded.is_sealed(),
            rewritten_bytes: 0,
        };
        log.make_durable(&bytes[..folded.end], folded.last).await?;
        log.keep_reserve().await;
        // The bug is a sync that is not made, so this must not make it.
        if !planted::is(Bug::SkipSyncOfFoundMetadata) {
            log.seal().await?;
        }
        Ok((log, folded.state))
    }

    /// What the last life wrote last may not be on stable storage, nor the names of the file and its
    /// directory: they are made so before anybody is shown what they say. The last frame is written again,
    /// because after a sync that failed the next one says nothing.
    async fn make_durable(&mut self, bytes: &[u8], last: usize) -> Result<(), MetadataLogError> {
        if planted::is(Bug::SkipSyncOfFoundMetadata) {
            return Ok(());
        }
        let start = last / BLOCK_BYTES * BLOCK_BYTES;
        self.write_at(start as u64, &bytes[start..]).await?;
        let directory = self.path.parent().unwrap_or(&self.path);
        let synced = runtime::sync_directory(directory).await;
        synced.map_err(|error| MetadataLogError::io(SYNC, directory, &error))?;
        // The directory may be as new as the log in it.
        let above = directory.parent().filter(|above| !above.as_os_str().is_empty());
        let above = above.unwrap_or(Path::new("."));
        match runtime::sync_directory(above).await {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                Err(MetadataLogError::io(SYNC, above, &error))
            }
            _ => Ok(()),
        }
    }

    /// Adds records; when it returns they are on stable storage.
    ///
    /// # Errors
    /// What the system says. Then the log must not be used any more: open it again.
    pub async fn append(&mut self, records: &[Record]) -> Result<(), MetadataLogError> {
        for frame in frames(records, self.next_sequence) {
            self.write(&frame).await?;
            self.next_sequence += 1;
        }
        self.keep_reserve().await;
        Ok(())
    }

    /// Writes a seal, if the last frame is none. One that goes on in another sector, or ends with its own, gets a
    /// second behind it. It takes no space that is not there: on a full disk the log stays without.
    ///
    /// # Errors
    /// What the system says. Then the log must not be used any more: open it again.
    pub async fn seal(&mut self) -> Result<(), MetadataLogError> {
        if planted::is(Bug::SkipSeal) {
            return Ok(());
        }
        while !self.is_sealed && self.allocated >= self.end + SEAL_BYTES as u64 {
            // One write each: were they torn together, the first would look damaged before a sound one.
            self.write(&seal_frame(self.next_sequence)).await?;
            self.next_sequence += 1;
        }
        Ok(())
    }

    /// Allocates space ahead, if there is some. A full disk is told when it is in somebody's way.
    async fn keep_reserve(&mut self) {
        self.lacks_reserve().await;
    }

    /// Why no space can be kept behind the last frame. Then what is left is for what frees more.
    pub async fn lacks_reserve(&mut self) -> Option<MetadataLogError> {
        if self.allocated.saturating_sub(self.end) >= RESERVE_BYTES_MIN {
            return None;
        }
        let wish = (self.end + RESERVE_BYTES).next_multiple_of(BLOCK_BYTES as u64);
        match self.file.allocate(wish).await {
            Ok(()) => self.allocated = wish,
            Err(error) => {
                let error = MetadataLogError::io("allocate", &self.path, &error);
                tracing::warn!(%error, "no space is kept for the metadata log");
                return Some(error);
            }
        }
        None
    }

    async fn write(&mut self, frame: &[u8]) -> Result<(), MetadataLogError> {
        let position = self.end - self.tail.len() as u64;
        let bytes = [&self.tail, frame].concat();
        self.write_at(position, &bytes).await?;
        let start = self.end;
        self.end += frame.len() as u64;
        self.is_sealed = is_seal(start, self.end);
        self.tail = bytes[bytes.len() / BLOCK_BYTES * BLOCK_BYTES..].to_vec();
        Ok(())
    }

    /// Writes from a block's start, zeros behind, and syncs.
    async fn write_at(&mut self, position: u64, bytes: &[u8]) -> Result<(), MetadataLogError> {
        let buffer = AlignedBuffer::padded(bytes).freeze();
        let written = self.file.write_at(&buffer, position).await;
        written.map_err(|error| MetadataLogError::io("write", &self.path, &error))?;
        if !planted::is(Bug::SkipSyncOfMetadata) {
            let synced = self.file.sync().await;
            synced.map_err(|error| MetadataLogError::io(SYNC, &self.path, &error))?;
        }
        self.allocated = self.allocated.max(position + buffer.len() as u64);
        Ok(())
    }

    /// Whether the log holds much more than the state needs.
    pub fn is_wordy(&self) -> bool {
        self.end >= REWRITE_BYTES_MIN.max(self.rewritten_bytes.saturating_mul(REWRITE_FACTOR))
    }

    /// Writes the log anew with the fewest records, if that makes it much shorter. On a full disk it stays as
    /// it is.
    ///
    /// # Errors
    /// What the system says. Then the log must not be used any more: open it again.
    pub async fn rewrite(&mut self, state: &State) -> Result<(), MetadataLogError> {
        let contents = sealed(&state.to_records());
        self.rewritten_bytes = contents.len() as u64;
        if !self.is_wordy() {
            return Ok(());
        }
        match replace(&self.path, &contents).await {
            Err(error) if error.is_storage_full() => {
                tracing::warn!(%error, "the metadata log is not written anew");
                self.rewritten_bytes = self.end;
                return Ok(());
            }
            other => other?,
        }
        let file = open_file(&self.path).await?;
        let old = std::mem::replace(&mut self.file, file);
        let closed = old.close().await;
        closed.map_err(|error| MetadataLogError::io("close", &self.path, &error))?;
        tracing::info!(path = %self.path.display(), was_bytes = self.end, bytes = contents.len(),
            "wrote the metadata log anew");
        (self.end, self.allocated) = (contents.len() as u64, contents.len() as u64);
        self.keep_reserve().await;
        self.tail = contents[contents.len() / BLOCK_BYTES * BLOCK_BYTES..].to_vec();
        self.next_sequence = frames_in(&contents);
        self.is_sealed = true;
        Ok(())
    }

    /// Bytes of all frames.
    pub fn bytes(&self) -> u64 {
        self.end
    }
}

/// What the log of a data directory says, for who changes nothing.
pub struct Glimpse {
    pub state: State,
    pub frames: i64,
    /// Where its frames end.
    pub end: u64,
    /// Bytes behind that the next start cuts.
    pub torn_bytes: u64,
    /// No damage to its frames is taken for a torn tail.
    pub is_sealed: bool,
}

/// Reads the log without changing it; `None` when there is none.
///
/// # Errors
/// Damage, a newer format, or what the system says.
pub async fn glimpse(directory: &Path) -> Result<Option<Glimpse>, MetadataLogError> {
    let path = directory.join(FILE_NAME);
    let read = small_file::read(&path, LOG_BYTES_MAX).await;
    let read = read.map_err(|error| MetadataLogError::io("read", &path, &error))?;
    let Some(bytes) = read else { return Ok(None) };
    let bytes = Bytes::from(bytes);
    let folded = fold(&path, &bytes, &Config::default())?;
    let torn_bytes = if folded.is_torn { (bytes.len() - folded.end) as u64 } else { 0 };
    let is_sealed = folded.is_sealed();
    let Folded { state, end, next_sequence: frames, .. } = folded;
    Ok(Some(Glimpse { state, frames, end: end as u64, torn_bytes, is_sealed }))
}

/// Makes the log of a new data directory.
async fn begin(path: &Path, config: &Config) -> Result<Vec<u8>, MetadataLogError> {
    let cluster_id = config.cluster_id.clone().unwrap_or_else(|| random_id().to_base64());
    tracing::info!(path = %path.display(), %cluster_id, node_id = config.node_id, "new data directory");
    let format = Record::Format { version: FORMAT_VERSION, cluster_id, node_id: config.node_id };
    let contents = sealed(&[format]);
    replace(path, &contents).await?;
    Ok(contents)
}

async fn replace(path: &Path, contents: &[u8]) -> Result<(), MetadataLogError> {
    // With the zeros that end it, whether space is kept behind them or not.
    let mut contents = contents.to_vec();
    contents.resize(contents.len().next_multiple_of(BLOCK_BYTES), 0);
    let written = small_file::write(path, &contents).await;
    written.map_err(|error| MetadataLogError::io("write", path, &error))?;
    let directory = path.parent().unwrap_or(path);
    let synced = runtime::sync_directory(directory).await;
    synced.map_err(|error| MetadataLogError::io(SYNC, directory, &error))
}

async fn open_file(path: &Path) -> Result<File, MetadataLogError> {
    let file = File::open(path, FileOptions::default()).await;
    file.map_err(|error| MetadataLogError::io("open", path, &error))
}

async fn cut(path: &Path, file: &File, end: u64) -> Result<(), MetadataLogError> {
    let truncated = file.truncate(end).await;
    truncated.map_err(|error| MetadataLogError::io("cut", path, &error))?;
    let synced = file.sync().await;
    synced.map_err(|error| MetadataLogError::io(SYNC, path, &error))
}

fn check_identity(path: &Path, state: &State, config: &Config) -> Result<(), MetadataLogError> {
    let foreign = |what, found: String, wanted: String| {
        let path = path.display().to_string();
        Err(MetadataLogError::Foreign { path, what, found, wanted })
    };
    match &config.cluster_id {
        Some(wanted) if **wanted != *state.cluster_id => {
            foreign("cluster", state.cluster_id.to_string(), wanted.clone())
        }
        _ if config.node_id != state.node_id => {
            foreign("node", state.node_id.to_string(), config.node_id.to_string())
        }
        _ => Ok(()),
    }
}

// ---------------------------------------------------------------- frames

/// The records as frames, numbered from `sequence` on.
fn frames(records: &[Record], mut sequence: i64) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut records = records.iter().peekable();
    while records.peek().is_some() {
        let mut e = Encoder::new();
        e.write_i64(sequence);
        while e.out.len() < FRAME_BYTES_WISHED {
            let Some(record) = records.next() else { break };
            record.encode(&mut e);
        }
        assert!(e.out.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", e.out.len());
        frames.push(frame(&e.out));
        sequence += 1;
    }
    frames
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + payload.len());
    frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    frame.extend_from_slice(&crc32fast::hash(payload).to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn seal_frame(sequence: i64) -> Vec<u8> {
    frame(&sequence.to_be_bytes())
}

/// Whether a sound frame from `start` to `end` is a seal: without records, and of one sector, in which zeros follow.
fn is_seal(start: u64, end: u64) -> bool {
    let sector = SECTOR_BYTES as u64;
    end - start == SEAL_BYTES as u64 && start / sector == end / sector
}

/// A whole log of these records, its seal included.
fn sealed(records: &[Record]) -> Vec<u8> {
    let frames = frames(records, 0);
    let mut contents = frames.concat();
    for sequence in (0..).skip(frames.len()) {
        let start = contents.len() as u64;
        contents.extend_from_slice(&seal_frame(sequence));
        if is_seal(start, contents.len() as u64) {
            break;
        }
    }
    contents
}

/// What a frame begins with.
struct Head {
    /// Of the payload.
    length: usize,
    crc: u32,
    sequence: i64,
}

impl Head {
    /// None when fewer bytes are there, or no frame is as long.
    fn read(bytes: &[u8]) -> Option<Head> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let sequence = i64::from_be_bytes(*rest.first_chunk::<SEQUENCE_BYTES>()?);
        let (length, crc) = (u32::from_be_bytes(*length) as usize, u32::from_be_bytes(*crc));
        let in_range = (SEQUENCE_BYTES..=FRAME_BYTES_MAX).contains(&length);
        in_range.then_some(Head { length, crc, sequence })
    }
}

/// The payload of the frame at `at`, its sequence number first; none when there is no sound frame.
fn frame_at(bytes: &Bytes, at: usize, sequence: impl Fn(i64) -> bool) -> Option<Bytes> {
    let head = Head::read(&bytes[at..])?;
    let start = at + FRAME_HEADER_BYTES;
    let payload = bytes.get(start..start + head.length)?;
    let sound = sequence(head.sequence) && crc32fast::hash(payload) == head.crc;
    sound.then(|| bytes.slice(start..start + head.length))
}

/// Sound frames at the start of what was just written.
fn frames_in(contents: &[u8]) -> i64 {
    let bytes = Bytes::copy_from_slice(contents);
    let (mut at, mut count) = (0, 0);
    while let Some(payload) = frame_at(&bytes, at, |number| number == count) {
        at += FRAME_HEADER_BYTES + payload.len();
        count += 1;
    }
    count
}

struct Folded {
    state: State,
    /// Where the last frame begins.
    last: usize,
    /// Where the frames end.
    end: usize,
    next_sequence: i64,
    /// What follows is not zeros.
    is_torn: bool,
}

impl Folded {
    fn is_sealed(&self) -> bool {
        is_seal(self.last as u64, self.end as u64)
    }
}

fn fold(path: &Path, bytes: &Bytes, config: &Config) -> Result<Folded, MetadataLogError> {
    let mut folded =
        Folded { state: State::default(), last: 0, end: 0, next_sequence: 0, is_torn: false };
    while let Some(payload) = frame_at(bytes, folded.end, |found| found == folded.next_sequence) {
        apply_frame(path, &mut folded, &payload, config)?;
        folded.last = folded.end;
        folded.end += FRAME_HEADER_BYTES + payload.len();
        folded.next_sequence += 1;
    }
    folded.state.settle(config);
    let damaged = |reason: String| {
        let (path, position) = (path.display().to_string(), folded.end as u64);
        Err(MetadataLogError::Damaged { path, position, reason })
    };
    if folded.next_sequence == 0 {
        return damaged("the first frame is not sound".to_string());
    }
    folded.is_torn = bytes[folded.end..].iter().any(|byte| *byte != 0);
    if folded.is_torn {
        if let Some(at) = later_frame(bytes, folded.end, folded.next_sequence) {
            return damaged(format!("no sound frame there, but one at byte {at}"));
        }
        if !can_be_torn(bytes, folded.end, folded.next_sequence) {
            return damaged(
                "what is there is no frame, nor what a crash leaves of one".to_string(),
            );
        }
    }
    Ok(folded)
}

/// Whether a crash can have left what is at `at`, where there is no sound frame: one was being written, and some of
/// its sectors are missing. Before it was, there were zeros.
fn can_be_torn(bytes: &[u8], at: usize, sequence: i64) -> bool {
    let next_sector = (at + 1).next_multiple_of(SECTOR_BYTES);
    let sector = &bytes[at..next_sector.min(bytes.len())];
    // Too little to tell, or missing.
    if sector.len() <= SEAL_BYTES || sector.iter().all(|byte| *byte == 0) {
        return true;
    }
    let Some(head) = Head::read(sector) else { return false };
    let goes_on = FRAME_HEADER_BYTES + head.length > sector.len();
    // Then it is no seal, and has a record, whose kind is not 0.
    head.sequence == sequence && goes_on && sector[SEAL_BYTES] != 0
}

/// Where a sound frame lies behind what is not one: nearly always nowhere, as what follows is torn.
fn later_frame(bytes: &Bytes, after: usize, sequence: i64) -> Option<usize> {
    // Only what could follow is worth a checksum: a frame takes some bytes, so few can have come between.
    let most = sequence.saturating_add(bytes.len() as i64);
    (after + 1..bytes.len())
        .find(|at| frame_at(bytes, *at, |found| (sequence..=most).contains(&found)).is_some())
}

fn apply_frame(
    path: &Path,
    folded: &mut Folded,
    payload: &Bytes,
    config: &Config,
) -> Result<(), MetadataLogError> {
    let start = folded.end + FRAME_HEADER_BYTES + SEQUENCE_BYTES;
    let path = path.display().to_string();
    let mut d = Decoder::new(payload.slice(SEQUENCE_BYTES..));
    let mut is_first = folded.next_sequence == 0;
    while d.remaining() > 0 {
        let position = (start + d.position()) as u64;
        let damaged =
            |reason: String| MetadataLogError::Damaged { path: path.clone(), position, reason };
        let record = Record::decode(&mut d).map_err(|error| match error {
            RecordError::UnknownKind(_) => damaged(format!("{error}: start a newer version")),
            _ => damaged(error.to_string()),
        })?;
        match &record {
            Record::Format { version, .. } if *version > FORMAT_VERSION => {
                return Err(MetadataLogError::NewerFormat { path, found: *version });
            }
            Record::Format { .. } if is_first => {}
            _ if is_first => return Err(damaged("the log does not begin with its format".into())),
            _ => {}
        }
        is_first = false;
        folded.state.apply(&record, config).map_err(damaged)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
