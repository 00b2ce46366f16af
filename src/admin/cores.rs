//! The page of cores: how busy each is, and which partitions keep it so. As JSON, for people and their scripts, and for
//! `corelog cluster cores`. Pure.

use crate::limits::ADMIN_HOT_PARTITIONS_MAX;
use crate::shard::load::{LoadReading, Work};
use crate::types::ShardId;
use serde::Serialize;
use std::cmp::Reverse;

#[derive(Default, Serialize)]
struct CoresPage<'a> {
    cores: Vec<Core>,
    /// The busiest; none while nobody has anything to do.
    hottest_core: Option<u16>,
    /// Of all cores, the hottest first.
    hottest_partitions: Vec<HotPartition<'a>>,
    /// Cores that have not answered.
    silent_cores: Vec<u16>,
}

#[derive(Serialize)]
struct Core {
    core: u16,
    /// Share of its time; null before it was measured.
    busy: Option<f64>,
    partitions: usize,
    #[serde(flatten)]
    rates: Rates,
}

#[derive(Serialize)]
struct HotPartition<'a> {
    topic: &'a str,
    partition: i32,
    core: u16,
    /// Share of its core's time, about: by its part of what the core does.
    busy: Option<f64>,
    #[serde(flatten)]
    rates: Rates,
}

#[derive(Serialize)]
struct Rates {
    appended_bytes_per_second: u64,
    fetched_bytes_per_second: u64,
    operations_per_second: u64,
}

impl Rates {
    fn of(work: Work) -> Rates {
        Rates {
            appended_bytes_per_second: work.appended_bytes,
            fetched_bytes_per_second: work.fetched_bytes,
            operations_per_second: work.operations,
        }
    }
}

/// As many digits as mean something.
fn rounded(share: f64) -> f64 {
    (share * 1000.0).round() / 1000.0
}

/// The page, of what the shards have said; none for one that has not answered.
pub fn write(shards: &[(ShardId, Option<LoadReading>)]) -> String {
    let mut page = CoresPage::default();
    let mut hottest = (0.0, 0);
    let mut partitions: Vec<(u64, HotPartition<'_>)> = Vec::new();
    for (id, reading) in shards {
        let Some(reading) = reading else {
            page.silent_cores.push(id.0);
            continue;
        };
        let weight = reading.work.weight();
        let busy = reading.busy.unwrap_or(0.0);
        if (busy, weight) > hottest {
            hottest = (busy, weight);
            page.hottest_core = Some(id.0);
        }
        page.cores.push(Core {
            core: id.0,
            busy: reading.busy.map(rounded),
            partitions: reading.partitions,
            rates: Rates::of(reading.work),
        });
        partitions.extend(reading.hottest.iter().map(|one| {
            let part = one.work.weight() as f64 / weight.max(1) as f64;
            let hot = HotPartition {
                topic: &one.topic,
                partition: one.key.index,
                core: id.0,
                busy: reading.busy.map(|busy| rounded(busy * part)),
                rates: Rates::of(one.work),
            };
            (one.work.weight(), hot)
        }));
    }
    // The order of cores and of their partitions decides where the weight does not.
    partitions.sort_by_key(|(weight, _)| Reverse(*weight));
    partitions.truncate(ADMIN_HOT_PARTITIONS_MAX);
    page.hottest_partitions = partitions.into_iter().map(|(_, hot)| hot).collect();
    let mut text = serde_json::to_string_pretty(&page).expect("texts and numbers");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::load::PartitionLoad;
    use crate::shard::request::PartitionKey;
    use crate::types::TopicId;
    use serde_json::{Value, json};

    fn work(appended_bytes: u64) -> Work {
        Work { appended_bytes, ..Work::default() }
    }

    fn reading(busy: Option<f64>, loads: &[u64]) -> Option<LoadReading> {
        let load = |(index, bytes): (i32, &u64)| PartitionLoad {
            key: PartitionKey { topic_id: TopicId([1; 16]), index },
            topic: "t".into(),
            work: work(*bytes),
        };
        Some(LoadReading {
            busy,
            partitions: 9,
            work: work(loads.iter().sum()),
            hottest: (0..).zip(loads).map(load).collect(),
        })
    }

    fn page(shards: Vec<Option<LoadReading>>) -> Value {
        let shards: Vec<_> = (0..).map(ShardId).zip(shards).collect();
        serde_json::from_str(&write(&shards)).unwrap()
    }

    #[test]
    fn the_hottest_core_and_partitions_are_named() {
        let page = page(vec![
            reading(Some(0.2), &[500, 500]),
            None,
            reading(Some(0.80004), &[900, 100]),
            reading(None, &[]),
        ]);
        assert_eq!(page["hottest_core"], 2);
        assert_eq!(page["silent_cores"], json!([1]));
        let told = |list: &str, name: &str| -> Vec<Value> {
            page[list].as_array().unwrap().iter().map(|one| one[name].clone()).collect()
        };
        assert_eq!(told("cores", "core"), [0, 2, 3]);
        assert_eq!(told("cores", "busy"), [json!(0.2), json!(0.8), Value::Null]);
        assert_eq!(told("cores", "appended_bytes_per_second"), [1000, 1000, 0]);
        assert_eq!(told("hottest_partitions", "core"), [2, 0, 0, 2]);
        assert_eq!(told("hottest_partitions", "partition"), [0, 0, 1, 1]);
        assert_eq!(told("hottest_partitions", "busy"), [0.72, 0.1, 0.1, 0.08]);
    }

    #[test]
    fn an_idle_host_has_no_hottest_core_and_a_page_is_bounded() {
        let idle = page(vec![reading(Some(0.0), &[]), reading(None, &[])]);
        assert_eq!(idle["hottest_core"], Value::Null);
        assert_eq!(idle["hottest_partitions"], json!([]));
        let many = vec![7; ADMIN_HOT_PARTITIONS_MAX];
        let page = page(vec![reading(None, &many), reading(None, &many)]);
        assert_eq!(page["hottest_core"], 0, "of two alike the first");
        let shown = page["hottest_partitions"].as_array().unwrap();
        assert_eq!(shown.len(), ADMIN_HOT_PARTITIONS_MAX);
    }
}
