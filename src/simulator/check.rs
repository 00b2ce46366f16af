//! What must hold right after a partition was opened, while nobody works on it.

use super::dice::Dice;
use super::model::PartitionModel;
use super::workload::{self, Open};
use crate::log::{ReadError, ShardLog};
use crate::runtime::buffer::BufferSlice;
use crate::types::{Offset, Timestamp};
use crate::wire::batch;

/// Largest batch that the workload makes, and then some.
const BATCH_BYTES_MAX: u64 = 24_000;

/// Reads the log from its start to its end, looks up times, and compares the ends.
pub async fn after_opening(open: &Open, dice: &Dice) {
    let (log_start, end) = {
        let mut model = open.subject.model.borrow_mut();
        model.opened_at(open.partition.log_start());
        let name = &model.name;
        let partition = &open.partition;
        assert_eq!(partition.high_watermark(), model.next, "{name}: the high watermark");
        let start = partition.log_start();
        if let Some(first) = model.entries.iter().find(|entry| entry.end > start) {
            let known = model.rotten || model.epochs_rotten;
            let epoch = partition.epoch_of(first.base);
            assert!(known || epoch == first.epoch, "{name}: epoch {epoch} at {}", first.base);
        }
        (start, model.next)
    };
    let mut next = log_start;
    while next < end {
        let bytes_max = dice.pick(&[1, 5000, 50_000, 1 << 20, 1 << 20]);
        match workload::read(open, next, bytes_max, true).await {
            Some(after) if after > next => next = after,
            Some(_) => panic!("{}: nothing is served at {next}", open.partition.id),
            // A fault that is expected; perhaps behind it there is more.
            None => next = next.advanced_by(1),
        }
    }
    for offset in [log_start.advanced_by(-1), end.advanced_by(1)] {
        match open.partition.read(offset, 100, true).await {
            Err(ReadError::OutOfRange { .. }) => {}
            // It was stopped meanwhile.
            Err(ReadError::Offline(fault)) => workload::expect_fault(open, &fault),
            answer => panic!("{offset}: {answer:?}"),
        }
    }
    look_up_times(open, dice).await;
}

/// At any moment: what a shard caches is within its bound, and what is pending within it but for what producers
/// had begun to send, each of them without looking again.
pub fn memory(shard: &ShardLog, producers: usize, batches_each: usize) {
    let (cached, most) = (shard.cached_bytes(), shard.options.tail_cache_bytes);
    assert!(cached <= most, "{cached} bytes are cached where {most} are allowed");
    let slack = producers * batches_each * BATCH_BYTES_MAX as usize;
    let (pending, most) = (shard.pending_bytes(), shard.options.pending_bytes_max + slack);
    assert!(pending <= most, "{pending} bytes are pending where {most} are allowed");
}

/// After a clean stop next to nothing is scanned: from the index's last entry, if recovery points are lost.
pub fn scanned_little(open: &Open, index_step_bytes: u64) {
    let recovery = open.partition.recovery();
    let limit = 4 * index_step_bytes + 2 * BATCH_BYTES_MAX;
    assert!(recovery.scanned_bytes <= limit, "{}: {recovery:?}", open.partition.id);
    assert_eq!(recovery.cut_bytes, 0, "{}: a stop leaves nothing to cut", open.partition.id);
}

/// After a crash no more is scanned than was written since recovery points were.
pub fn scanned_no_more(opens: &[Open], limit: u64) {
    let scanned: u64 = opens.iter().map(|open| open.partition.recovery().scanned_bytes).sum();
    // What producers had in flight when the bound was reached.
    let slack = opens.len() as u64 * 5 * BATCH_BYTES_MAX;
    assert!(scanned <= limit + slack, "{scanned} bytes are scanned where {limit} are allowed");
}

async fn look_up_times(open: &Open, dice: &Dice) {
    let start = open.partition.log_start();
    let mut times: Vec<i64> = {
        let model = open.subject.model.borrow();
        let live = model.entries.iter().filter(|entry| entry.end > start);
        let all: Vec<i64> = live.map(|entry| entry.max_timestamp.0).collect();
        (0..all.len().min(1)).map(|_| dice.pick(&all) + dice.within(-1..2)).collect()
    };
    if dice.percent(20) {
        times.push(0);
    }
    for time in times {
        let span = open.partition.high_watermark() - open.partition.log_start() + 1;
        let from = Offset(dice.within(-1..span) + open.partition.log_start().0);
        let from = if dice.percent(50) { Offset::ZERO } else { from };
        let expected = |model: &PartitionModel| {
            let holds = |at: &usize| {
                let entry = &model.entries[*at];
                entry.end > start.max(from) && entry.max_timestamp.0 >= time
            };
            (0..model.entries.len()).find(holds)
        };
        let found = open.partition.find_batch_by_time(Timestamp(time), from).await;
        check_found(open, found, expected, &format!("time {time}"));
    }
    if dice.percent(50) {
        return;
    }
    let expected = |model: &PartitionModel| {
        let live = |at: &usize| model.entries[*at].end > start;
        let time = |at: &usize| model.entries[*at].max_timestamp;
        let max = (0..model.entries.len()).filter(live).map(|at| time(&at)).max()?;
        (0..model.entries.len()).filter(live).find(|at| time(at) == max && max.0 >= 0)
    };
    let found = open.partition.find_batch_of_max_time().await;
    check_found(open, found, expected, "the largest time");
}

fn check_found(
    open: &Open,
    found: Result<Option<BufferSlice>, ReadError>,
    expected: impl FnOnce(&PartitionModel) -> Option<usize>,
    what: &str,
) {
    let model = open.subject.model.borrow();
    let name = &model.name;
    let expected = expected(&model).map(|at| &model.entries[at]);
    match (found, expected) {
        (Err(ReadError::Offline(fault)), _) => workload::expect_fault(open, &fault),
        (Ok(Some(bytes)), Some(entry)) => {
            let header = batch::parse_whole(&bytes).expect("what is found is whole");
            let times = |at: &crate::simulator::model::Entry| (at.base, at.max_timestamp.0);
            workload::tell(|| {
                let known: Vec<_> = model.entries.iter().map(times).collect();
                format!("{what} is at {}, among {known:?}", header.base_offset)
            });
            workload::check_batch(
                name,
                model.epochs_rotten || model.rotten,
                entry,
                &bytes,
                &header,
            );
        }
        (Ok(None), None) => {}
        (Ok(found), expected) => {
            let found =
                found.map(|bytes| batch::parse_whole(&bytes).map(|found| found.base_offset));
            let expected: Option<Offset> = expected.map(|entry| entry.base);
            panic!("{name}: {what} is at {found:?}, should be at {expected:?}");
        }
        (Err(error), _) => panic!("{name}: {what}: {error}"),
    }
}
