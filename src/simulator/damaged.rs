//! Recovery of arbitrary bytes: whatever lies on the disk, opening it ends, in little memory, and what is
//! served then is whole, checked and in order; and the log can be used and opened again.

use crate::log::small_file;
use crate::log::{LogConfig, LogFault, LogOptions, Partition, PartitionId, ShardLog};
use crate::probe::Probe;
use crate::runtime;
use crate::runtime::sim::{Simulation, SimulationOptions};
use crate::types::{Offset, Timestamp, TopicId};
use crate::wire::batch::{self, BatchHeader, testing};
use bytes::Bytes;
use std::future::poll_fn;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

const FOLDER: &str = "/data/t-0";
const STEPS_MAX: u64 = 2_000_000;

/// The files of a partition that has one segment, which begins at offset 0; empty ones are not there.
#[derive(Clone, Debug, Default)]
pub struct Files {
    pub segment: Vec<u8>,
    pub index: Vec<u8>,
    pub time_index: Vec<u8>,
    pub epochs: Vec<u8>,
    /// A snapshot of producers; the offset in its name is the one that it says.
    pub producers: Vec<u8>,
    /// Commits were not synced: power loss may have left holes.
    pub unsynced: bool,
    /// Apache Kafka wrote it, perhaps compacted.
    pub foreign: bool,
}

impl Files {
    /// Takes a fuzzer's input apart: a byte of flags, the lengths of the small files, then all bytes in
    /// order, the segment last. Two of the flags mend checksums, else little gets past them.
    pub fn from_input(input: &[u8]) -> Files {
        let (head, mut rest) = input.split_at(input.len().min(5));
        let mut head = head.to_vec();
        head.resize(5, 0);
        let mut take = |length: u8| {
            let (taken, left) = rest.split_at(usize::from(length).min(rest.len()));
            rest = left;
            taken.to_vec()
        };
        let (index, time_index) = (take(head[1]), take(head[2]));
        let (epochs, producers) = (take(head[3]), take(head[4]));
        let (unsynced, foreign) = (head[0] & 1 != 0, head[0] & 2 != 0);
        let segment = rest.to_vec();
        let mut files = Files { segment, index, time_index, epochs, producers, unsynced, foreign };
        if head[0] & 4 != 0 {
            mend_batches(&mut files.segment);
        }
        if head[0] & 8 != 0 {
            mend_snapshot(&mut files.producers);
        }
        files
    }

    /// The input that `from_input` takes apart into these files; none when a small one is too large for it.
    pub fn to_input(&self) -> Option<Vec<u8>> {
        let small = [&self.index, &self.time_index, &self.epochs, &self.producers];
        let mut input = vec![u8::from(self.unsynced) | u8::from(self.foreign) << 1];
        for file in small {
            input.push(u8::try_from(file.len()).ok()?);
        }
        small.into_iter().for_each(|file| input.extend_from_slice(file));
        input.extend_from_slice(&self.segment);
        Some(input)
    }

    fn put(&self, simulation: &Simulation) {
        let disk = simulation.disk();
        let offset = self.producers.get(5..13).map_or([0; 8], |bytes| bytes.try_into().expect("8"));
        let snapshot = format!("{:020}.producers", i64::from_be_bytes(offset).max(0));
        let zero = "00000000000000000000";
        let named = [
            (format!("{zero}.log"), &self.segment),
            (format!("{zero}.index"), &self.index),
            (format!("{zero}.timeindex"), &self.time_index),
            ("leader-epoch-checkpoint".to_string(), &self.epochs),
            (snapshot, &self.producers),
        ];
        disk.put_directory(FOLDER).expect("the disk is empty");
        let metadata = format!("version: 0\ntopic_id: {}", partition_id().topic_id);
        let path = Path::new(FOLDER).join("partition.metadata");
        disk.put_file(path, metadata.as_bytes()).expect("the folder is there");
        for (name, bytes) in named.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            disk.put_file(Path::new(FOLDER).join(name), bytes).expect("the folder is there");
        }
        for (is_there, name) in
            [(self.unsynced, "unsynced"), (self.foreign, "00000000000000000000.snapshot")]
        {
            if is_there {
                disk.put_file(Path::new(FOLDER).join(name), &[]).expect("the folder is there");
            }
        }
    }
}

/// Gives every batch that can be told apart a right checksum.
fn mend_batches(segment: &mut [u8]) {
    let mut at = 0;
    while let Ok(header) = BatchHeader::parse(&segment[at..]) {
        let end = at + header.batch_bytes;
        let Some(bytes) = segment.get_mut(at..end) else { return };
        let crc = batch::checksum(bytes);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        at = end;
    }
}

fn mend_snapshot(snapshot: &mut [u8]) {
    if let Some(end) = snapshot.len().checked_sub(4) {
        let crc = crc32fast::hash(&snapshot[..end]);
        snapshot[end..].copy_from_slice(&crc.to_be_bytes());
    }
}

/// Opens a partition of these files, reads all of it, writes to it, and opens it once more.
///
/// # Panics
/// When something is served that is not whole or not in its place, or does not come back.
pub fn check_recovery(files: &Files) {
    let options = SimulationOptions { steps_max: STEPS_MAX, ..Default::default() };
    let simulation = Simulation::with_options(1, options);
    files.put(&simulation);
    let Some((log_start, end)) = simulation.run(first_life()) else { return };
    simulation.kill();
    simulation.run(async move {
        let shard = shard();
        let partition = open(&shard).await.expect("it opened before, and was used since");
        assert_eq!(read_all(&partition).await, Some(end));
        assert_eq!(partition.log_start(), log_start);
    });
}

/// For a fuzz target: any bytes.
pub fn recovery(input: &[u8]) {
    check_recovery(&Files::from_input(input));
}

fn shard() -> Rc<ShardLog> {
    let shard = ShardLog::new(LogOptions::new("/data".into()), Rc::new(Probe::default()));
    shard.start_writers();
    shard
}

fn partition_id() -> PartitionId {
    PartitionId { topic_id: TopicId([7; 16]), topic: "t".into(), index: 0 }
}

async fn open(shard: &Rc<ShardLog>) -> Result<Rc<Partition>, LogFault> {
    Partition::open(shard, partition_id(), Arc::new(LogConfig::default()), 0, Offset::ZERO).await
}

/// None when it stays offline, or some of it cannot be read.
async fn first_life() -> Option<(Offset, Offset)> {
    let shard = shard();
    let partition = open(&shard).await.ok()?;
    let end = read_all(&partition).await;
    for time in [0, 1_700_000_000_000, i64::MAX] {
        if let Ok(Some(found)) = partition.find_batch_by_time(Timestamp(time), Offset::ZERO).await {
            let header = batch::parse_whole(&found).expect("what is found is whole");
            assert!(header.max_timestamp >= Timestamp(time));
        }
    }
    let _ = partition.find_batch_of_max_time().await;
    let value = testing::batch(&[b"after"], Timestamp(5), Some((1, 0, 0)));
    let dispatched = match partition.append(Bytes::from(value), runtime::wall_clock()) {
        Ok(dispatched) => dispatched,
        // Its producer may be known from the files.
        Err(_) => return None,
    };
    let mut key = Default::default();
    let stored = poll_fn(|context| partition.poll_committed(&mut key, &dispatched, context)).await;
    stored.expect("the disk works");
    partition.stop().await.expect("the disk works");
    let end = end.map(|end| end.max(dispatched.end));
    end.filter(|end| *end == partition.high_watermark()).map(|end| (partition.log_start(), end))
}

/// Reads from the log's start to its end; none when damage is in the way.
async fn read_all(partition: &Rc<Partition>) -> Option<Offset> {
    let mut next = partition.log_start();
    while next < partition.high_watermark() {
        let found = partition.read(next, 10_000, true).await.ok()?;
        assert!(!found.slices.is_empty(), "nothing is served at {next}");
        for slice in &found.slices {
            let mut rest = &slice[..];
            while !rest.is_empty() {
                let header = batch::parse_whole(rest).expect("what is served is whole");
                assert!(header.next_offset() > next, "{} after {next}", header.base_offset);
                next = header.next_offset();
                rest = &rest[header.batch_bytes..];
            }
        }
    }
    Some(next)
}

/// A sound partition's files, for a fuzzer's corpus and for damaging them.
pub fn sound_files(batches: i64, stopped: bool) -> Files {
    let simulation = Simulation::new(2);
    simulation.disk().put_directory("/data").expect("the disk is empty");
    simulation.run(async {
        let shard = shard();
        let partition = open(&shard).await.expect("the disk works");
        for number in 0..batches {
            let value = vec![number as u8; 40 + 700 * (number as usize % 5)];
            let producer = (number % 2 == 0).then_some((9, 0, number as i32));
            let bytes = testing::batch(&[&value, b"x"], Timestamp(1000 * number), producer);
            let bytes = Bytes::from(bytes);
            // The producer's sequences have gaps: refused ones only make the log shorter.
            let Ok(dispatched) = partition.append(bytes, runtime::wall_clock()) else { continue };
            let mut key = Default::default();
            let stored =
                poll_fn(|context| partition.poll_committed(&mut key, &dispatched, context));
            stored.await.expect("the disk works");
        }
        if stopped {
            partition.stop().await.expect("the disk works");
        }
    });
    simulation.run(async {
        let mut files = Files::default();
        let folder = Path::new(FOLDER);
        for entry in runtime::list_directory(folder).await.expect("it is there") {
            let path = folder.join(&entry.name);
            let bytes = small_file::read(&path, 1 << 20).await.expect("the disk works");
            let bytes = bytes.expect("it was listed");
            match entry.name.rsplit('.').next() {
                Some("log") => files.segment = bytes,
                Some("index") => files.index = bytes,
                Some("timeindex") => files.time_index = bytes,
                Some("producers") => files.producers = bytes,
                Some("leader-epoch-checkpoint") => files.epochs = bytes,
                _ => {}
            }
        }
        files
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sim::for_each_seed;
    use crate::simulator::dice::Dice;

    fn damage(dice: &Dice, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len() as u64;
        match dice.below(7) {
            0 => bytes.truncate(dice.below(length) as usize),
            1 => {
                let at = dice.below(length) as usize;
                let end = (at + dice.below(600) as usize).min(bytes.len());
                bytes[at..end].fill(dice.pick(&[0, 0xFF]));
            }
            2 => {
                let from = dice.below(length) as usize;
                let copied = bytes[from..].to_vec();
                let at = dice.below(length) as usize;
                bytes.truncate(at);
                bytes.extend_from_slice(&copied);
            }
            3 => bytes.extend((0..dice.below(5000)).map(|_| dice.next() as u8)),
            _ => {
                let at = dice.below(length) as usize;
                bytes[at] ^= 1 << dice.below(8);
            }
        }
    }

    #[test]
    fn whatever_is_damaged_nothing_wrong_is_served() {
        let sound = [sound_files(20, true), sound_files(20, false), sound_files(2, true)];
        for files in &sound {
            assert!(!files.segment.is_empty() && !files.epochs.is_empty());
            check_recovery(files);
        }
        assert!(!sound[0].index.is_empty() && !sound[0].producers.is_empty());
        for_each_seed(1500, |seed| {
            let dice = Dice::new(seed);
            let mut files = sound[dice.below(3) as usize].clone();
            for _ in 0..1 + dice.below(3) {
                match dice.below(10) {
                    0 => damage(&dice, &mut files.index),
                    1 => damage(&dice, &mut files.time_index),
                    2 => damage(&dice, &mut files.epochs),
                    3 => damage(&dice, &mut files.producers),
                    4 => files.unsynced = true,
                    5 => files.foreign = true,
                    _ => damage(&dice, &mut files.segment),
                }
            }
            if dice.percent(50) {
                mend_batches(&mut files.segment);
            }
            if dice.percent(50) {
                mend_snapshot(&mut files.producers);
            }
            check_recovery(&files);
        });
    }

    /// With CORELOG_CORPUS set, writes sound files there for a fuzzer to begin with.
    #[test]
    fn an_input_stands_for_the_files_it_was_made_of() {
        for (batches, stopped) in [(1, true), (2, false), (6, true)] {
            let mut files = sound_files(batches, stopped);
            // What was preallocated is zeros, and of no use to a fuzzer.
            let end = files.segment.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            files.segment.truncate(end);
            let input = files.to_input().expect("small files are small");
            let again = Files::from_input(&input);
            assert_eq!(format!("{again:?}"), format!("{files:?}"));
            check_recovery(&again);
            if let Some(folder) = std::env::var_os("CORELOG_CORPUS") {
                let name = format!("sound-{batches}-{stopped}");
                std::fs::write(Path::new(&folder).join(name), &input).expect("the folder is there");
            }
        }
    }

    #[test]
    fn any_bytes_can_be_opened() {
        for_each_seed(300, |seed| {
            let dice = Dice::new(seed);
            let bytes: Vec<u8> = (0..dice.below(3000)).map(|_| dice.next() as u8).collect();
            recovery(&bytes);
        });
        recovery(&[]);
    }
}
