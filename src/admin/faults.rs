//! The page of partitions that something is wrong with: which, what, where, and what an operator can do. As
//! JSON, for people and their scripts. Pure.

use crate::limits::ADMIN_FAULTS_MAX;
use crate::shard::scrape::{FaultReading, FaultsReading};
use crate::types::ShardId;
use serde::Serialize;

#[derive(Default, Serialize)]
struct FaultsPage<'a> {
    faults: Vec<Fault<'a>>,
    /// How many there are beside.
    left_out: usize,
    /// Partitions that a start has not opened yet.
    unopened: usize,
    /// Shards that have not answered: what is wrong there stands nowhere.
    silent_shards: Vec<u16>,
}

#[derive(Serialize)]
struct Fault<'a> {
    topic: &'a str,
    partition: i32,
    shard: u16,
    state: &'a str,
    kind: &'a str,
    operation: &'a str,
    file: &'a str,
    position: u64,
    reason: &'a str,
    remedy: &'a str,
}

impl<'a> Fault<'a> {
    fn of(shard: ShardId, reading: &'a FaultReading) -> Fault<'a> {
        Fault {
            topic: &reading.topic,
            partition: reading.index,
            shard: shard.0,
            state: reading.state,
            kind: reading.kind,
            operation: reading.operation,
            file: &reading.path,
            position: reading.position,
            reason: &reading.reason,
            remedy: reading.remedy,
        }
    }
}

/// The page, of what the shards have said; none for one that has not answered.
pub fn write(shards: &[(ShardId, Option<FaultsReading>)]) -> String {
    let mut page = FaultsPage::default();
    for (id, reading) in shards {
        let Some(reading) = reading else {
            page.silent_shards.push(id.0);
            continue;
        };
        page.left_out += reading.left_out;
        page.unopened += reading.unopened;
        let room = ADMIN_FAULTS_MAX - page.faults.len();
        page.left_out += reading.faults.len().saturating_sub(room);
        page.faults.extend(reading.faults.iter().take(room).map(|fault| Fault::of(*id, fault)));
    }
    let mut text = serde_json::to_string_pretty(&page).expect("texts and numbers");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn reading(faults: usize, left_out: usize) -> Option<FaultsReading> {
        let faults = vec![FaultReading { topic: "t".into(), ..FaultReading::default() }; faults];
        Some(FaultsReading { faults, left_out, unopened: 3 })
    }

    #[test]
    fn a_page_is_bounded_and_counts_what_it_leaves_out() {
        let shards = [
            (ShardId(0), reading(ADMIN_FAULTS_MAX - 1, 0)),
            (ShardId(1), None),
            (ShardId(2), reading(5, 7)),
            (ShardId(3), reading(2, 0)),
        ];
        let page: Value = serde_json::from_str(&write(&shards)).unwrap();
        let faults = page["faults"].as_array().unwrap();
        assert_eq!(faults.len(), ADMIN_FAULTS_MAX);
        let shard = |at: usize| faults[at]["shard"].as_u64();
        assert_eq!((shard(0), shard(ADMIN_FAULTS_MAX - 1)), (Some(0), Some(2)));
        let counts = (page["left_out"].as_u64(), page["unopened"].as_u64());
        assert_eq!(counts, (Some(4 + 7 + 2), Some(9)));
        assert_eq!(page["silent_shards"], serde_json::json!([1]));
    }
}
