//! Reading what a fetch asks for: of many partitions, on this core and on others, in several turns if one
//! does not give enough. Never waits for records to come, but to know that some have.

use super::errors::code_of;
use super::response::Part;
use crate::runtime;
use crate::shard::request::{PartitionError, PartitionKey, ReadSpec, ShardReply};
use crate::shard::{Reading, Shard};
use crate::types::{Offset, ShardId};
use crate::wire::ErrorCode;
use crate::wire::api::fetch::EpochEndOffset;
use crate::wire::batch::BatchHeader;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// What one partition has to say.
pub enum Outcome {
    Read(PartitionRead),
    Error(ErrorCode),
    /// The core that was asked for it does not have it.
    NotAt(ShardId),
    Diverging(EpochEndOffset),
}

impl Outcome {
    /// What a core said instead of giving what it was asked for.
    pub fn refused(code: ErrorCode, by: ShardId) -> Outcome {
        match code {
            ErrorCode::NotLeaderOrFollower => Outcome::NotAt(by),
            code => Outcome::Error(code),
        }
    }

    pub fn bytes(&self) -> usize {
        self.read().map_or(0, |read| read.bytes)
    }

    pub fn read(&self) -> Option<&PartitionRead> {
        match self {
            Outcome::Read(read) => Some(read),
            _ => None,
        }
    }

    pub fn read_mut(&mut self) -> Option<&mut PartitionRead> {
        match self {
            Outcome::Read(read) => Some(read),
            _ => None,
        }
    }
}

/// What was read of one partition so far, and where it goes on.
pub struct PartitionRead {
    key: PartitionKey,
    owner: ShardId,
    /// The offset that the client asked for.
    first: Offset,
    /// Most bytes of this partition.
    limit: usize,
    /// A first batch beyond the limits is given whole, if nothing else was read (KIP-74): so large it may
    /// be, 0 for never.
    first_bytes_max: usize,
    /// Whole batches.
    pub parts: Vec<Part>,
    pub bytes: usize,
    pub high_watermark: Offset,
    pub log_start: Offset,
    /// The offset after the last batch that was read.
    next: Offset,
    /// Bytes that were read, and let go while the fetch waits for more.
    forgotten: usize,
    /// The last read gave nothing.
    is_still: bool,
}

impl PartitionRead {
    pub fn new(
        key: PartitionKey,
        owner: ShardId,
        first: Offset,
        limit: usize,
        first_bytes_max: usize,
    ) -> PartitionRead {
        PartitionRead {
            key,
            owner,
            first,
            limit,
            first_bytes_max,
            parts: Vec::new(),
            bytes: 0,
            high_watermark: first,
            log_start: first,
            next: first,
            forgotten: 0,
            is_still: false,
        }
    }

    fn seen(&self) -> usize {
        self.bytes + self.forgotten
    }

    fn room(&self) -> usize {
        self.limit.saturating_sub(self.seen())
    }

    /// Walks over what the last read gave.
    fn settle_next(&mut self) {
        let Some(last) = self.parts.last() else { return };
        let (mut at, mut next) = (0, self.next);
        while let Ok(header) = BatchHeader::parse(&last[at..]) {
            (at, next) = (at + header.batch_bytes, header.next_offset());
        }
        self.next = next;
    }

    /// A read ends where a segment ends, or the cached part of one, or at what a disk gives at a time:
    /// there is more, and room for some of it.
    fn goes_on(&mut self) -> bool {
        if self.is_still || self.room() == 0 {
            return false;
        }
        self.settle_next();
        self.next < self.high_watermark
    }

    /// Bytes that it counts for when a fetch has to have so many. What is full counts for all that it may
    /// give, as in Kafka, where the last batch of an answer may be cut.
    fn counted(&self) -> usize {
        let is_full = self.is_still && self.next < self.high_watermark;
        if is_full { self.limit.max(self.seen()) } else { self.seen() }
    }

    fn take(&mut self, pieces: Pieces) {
        let Pieces { parts, bytes, high_watermark, log_start } = pieces;
        (self.high_watermark, self.log_start) = (high_watermark, log_start);
        self.bytes += bytes;
        self.is_still = bytes == 0;
        self.parts.extend(parts);
    }

    /// Lets go of what was read, but not of how far.
    fn forget(&mut self) {
        self.settle_next();
        self.forgotten += std::mem::take(&mut self.bytes);
        self.parts = Vec::new();
    }

    fn rewind(&mut self) {
        (self.next, self.forgotten, self.is_still) = (self.first, 0, false);
    }
}

/// What one read of one partition gave.
struct Pieces {
    parts: Vec<Part>,
    bytes: usize,
    high_watermark: Offset,
    log_start: Offset,
}

impl Pieces {
    fn of(reading: Reading) -> Pieces {
        let (high_watermark, log_start) = (reading.high_watermark(), reading.log_start());
        let bytes = reading.bytes();
        let parts = match reading {
            Reading::Here(batches) => batches.slices.into_iter().map(Part::Records).collect(),
            Reading::Copied(copy) if bytes > 0 => vec![Part::Encoded(copy.records)],
            Reading::Copied(_) => Vec::new(),
        };
        Pieces { parts, bytes, high_watermark, log_start }
    }

    /// Keeps the whole batches that fit into `limit`.
    fn cut(&mut self, limit: usize) {
        let mut left = limit;
        let mut is_cut = false;
        self.parts.retain_mut(|part| {
            let length = if is_cut { 0 } else { whole_batches(part, left) };
            is_cut |= length < part.len();
            part.truncate(length);
            left -= length;
            length > 0
        });
        self.bytes = limit - left;
    }
}

/// Bytes of the whole batches at the start of `bytes` within `limit`.
fn whole_batches(bytes: &[u8], limit: usize) -> usize {
    let mut end = 0;
    while let Ok(header) = BatchHeader::parse(&bytes[end..]) {
        let next = end + header.batch_bytes;
        if next > limit || next > bytes.len() {
            break;
        }
        end = next;
    }
    end
}

fn seen(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter_map(Outcome::read).map(PartitionRead::seen).sum()
}

/// The memory that an answer needs: for a first batch, and for all that it may hold.
pub fn bytes_to_hold(outcomes: &[Outcome], bytes_max: usize) -> (usize, usize) {
    let reads = || outcomes.iter().filter_map(Outcome::read);
    let first = reads().map(|read| read.first_bytes_max).max().unwrap_or(0);
    let limits = reads().fold(0usize, |sum, read| sum.saturating_add(read.limit));
    (first, limits.min(bytes_max).max(first))
}

/// Whether a fetch that has to have `bytes_min` need not wait: an error is told at once.
pub fn is_enough(outcomes: &[Outcome], bytes_min: usize) -> bool {
    let counted = outcomes.iter().filter_map(Outcome::read).map(PartitionRead::counted).sum();
    let has_some = bytes_min == 0 || seen(outcomes) > 0;
    (has_some && bytes_min <= counted) || outcomes.iter().any(|outcome| outcome.read().is_none())
}

/// Reads on from where the partitions are, until there is enough, or all there is, or no room for more.
pub async fn read_on(
    shard: &Rc<Shard>,
    outcomes: &mut [Outcome],
    bytes_min: usize,
    bytes_max: usize,
) {
    let mut places: Vec<usize> = (0..outcomes.len())
        .filter(|place| {
            let read = outcomes[*place].read();
            read.is_some_and(|read| read.seen() == 0 || read.room() > 0)
        })
        .collect();
    loop {
        read_turn(shard, outcomes, &places, bytes_max).await;
        if is_enough(outcomes, bytes_min) {
            return;
        }
        places.retain(|place| outcomes[*place].read_mut().is_some_and(PartitionRead::goes_on));
        if places.is_empty() {
            return;
        }
        runtime::yield_if_needed().await;
    }
}

/// Reads some partitions once: this core's and, side by side, those of others. In all the answer's limit
/// holds, in the order asked.
async fn read_turn(
    shard: &Rc<Shard>,
    outcomes: &mut [Outcome],
    places: &[usize],
    bytes_max: usize,
) {
    let seen = seen(outcomes);
    let left = bytes_max.saturating_sub(seen);
    let mut here = (Vec::new(), Vec::new());
    let mut elsewhere: BTreeMap<ShardId, (Vec<usize>, Vec<ReadSpec>)> = BTreeMap::new();
    for place in places {
        let Some(read) = outcomes[*place].read() else { continue };
        let (places, specs) = if read.owner == shard.id {
            &mut here
        } else {
            elsewhere.entry(read.owner).or_default()
        };
        places.push(*place);
        specs.push(ReadSpec {
            key: read.key,
            offset: read.next,
            bytes_max: read.room(),
            first_whole: read.first_bytes_max > 0 && seen == 0,
        });
    }
    let calls: Vec<_> = elsewhere
        .into_iter()
        .map(|(owner, (places, specs))| (places, shard.read_elsewhere(owner, specs, left)))
        .collect();
    let several_cores = !calls.is_empty();
    let (places, specs) = here;
    let mut found: BTreeMap<usize, Result<Pieces, ErrorCode>> = BTreeMap::new();
    let read = shard.read_here(&specs, left).await.into_iter();
    found.extend(places.into_iter().zip(read.map(|read| pieces_of(read.map(Reading::Here)))));
    for (places, call) in calls {
        if let ShardReply::Read(reads) = call.await {
            let read = reads.into_iter().map(|read| pieces_of(read.map(Reading::Copied)));
            found.extend(places.into_iter().zip(read));
        } else {
            let gone = |place| (place, Err(ErrorCode::NotLeaderOrFollower));
            found.extend(places.into_iter().map(gone));
        }
    }
    let mut taken = seen;
    for (place, pieces) in found {
        let Outcome::Read(read) = &mut outcomes[place] else { continue };
        match pieces {
            Ok(mut pieces) => {
                // Each core read up to the limit, and gave its first batch whole.
                let limit = bytes_max.saturating_sub(taken).min(read.room());
                if several_cores && taken > 0 && pieces.bytes > limit {
                    pieces.cut(limit);
                }
                taken += pieces.bytes;
                read.take(pieces);
            }
            Err(code) => outcomes[place] = Outcome::refused(code, read.owner),
        }
    }
}

fn pieces_of(read: Result<Reading, PartitionError>) -> Result<Pieces, ErrorCode> {
    read.map(Pieces::of).map_err(|error| code_of(&error))
}

/// Lets go of what was read and waits until one of the partitions that have room has grown, wherever it
/// lives, or time is up: a fetch that waits holds no records.
pub async fn wait_for_more(shard: &Rc<Shard>, outcomes: &mut [Outcome], left: Duration) {
    let mut here = Vec::new();
    let mut elsewhere: BTreeMap<ShardId, Vec<(PartitionKey, Offset)>> = BTreeMap::new();
    for read in outcomes.iter_mut().filter_map(Outcome::read_mut) {
        read.forget();
        if read.room() > 0 || read.seen() == 0 {
            let threshold = read.high_watermark.advanced_by(1);
            if read.owner == shard.id {
                here.push((read.key, threshold));
            } else {
                elsewhere.entry(read.owner).or_default().push((read.key, threshold));
            }
        }
    }
    let mut calls: Vec<_> = elsewhere
        .into_iter()
        .map(|(owner, thresholds)| shard.watch_elsewhere(owner, thresholds, left))
        .collect();
    let any_call = poll_fn(|context| {
        let mut calls = calls.iter_mut();
        let is_ready = calls.any(|call| Pin::new(call).poll(context).is_ready());
        if is_ready { Poll::Ready(()) } else { Poll::Pending }
    });
    let grown = futures_lite::future::or(shard.watch_here(&here), any_call);
    runtime::timeout(left, grown).await;
}

/// Goes back to the offsets asked for, if anything was let go: true when there is something to read again.
pub fn rewind(outcomes: &mut [Outcome]) -> bool {
    let has_forgotten = |outcome: &Outcome| outcome.read().is_some_and(|read| read.forgotten > 0);
    let is_needed = outcomes.iter().any(has_forgotten);
    if is_needed {
        for read in outcomes.iter_mut().filter_map(Outcome::read_mut) {
            read.forget();
            read.rewind();
        }
    }
    is_needed
}
