//! Quotas on shards of the simulation, whose clock stands still between sleeps.

use super::*;
use crate::control_plane::harness;
use crate::runtime::sim::Simulation;
use crate::shard::quota_table::{QuotaEntity, QuotaName, QuotaValues};

fn table(client: &str, kind: QuotaKind, rate: f64) -> Arc<QuotaTable> {
    let mut values = QuotaValues::default();
    values.set(kind, Some(rate));
    let client = match client {
        "*" => QuotaName::Default,
        name => QuotaName::Is(name.to_string()),
    };
    let mut table = QuotaTable::default();
    table.set(QuotaEntity { user: None, client: Some(client) }, values);
    Arc::new(table)
}

fn run(shards: u16, table: Arc<QuotaTable>, test: impl AsyncFnOnce(Vec<Rc<Shard>>)) {
    Simulation::new(1).run(async {
        let host = harness::start(shards).await;
        for shard in &host.shards {
            shard.quotas.install(&table);
        }
        test(host.shards).await;
    });
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn produce(shard: &Rc<Shard>, client: &str, bytes: f64) -> Duration {
    let meter = shard.meter(Some(client)).expect("it has a quota");
    meter.charge(QuotaKind::ProduceBytes, bytes);
    // What the answer says is what the connection does, rounded up.
    let (told, pause) = (meter.settle(), meter.end());
    assert_eq!(u128::try_from(told).unwrap(), pause.as_micros().div_ceil(1000));
    pause
}

/// The simulation's sleeps take a little longer.
fn check_near(pause: Duration, expected: f64) {
    let off = pause.as_secs_f64() - expected;
    assert!(off.abs() < 0.02, "{pause:?} instead of {expected} s");
}

#[test]
fn clients_without_a_quota_are_not_measured() {
    run(1, table("c", QuotaKind::ProduceBytes, 100.0), async |shards| {
        assert!(shards[0].meter(Some("c")).is_some());
        assert!(shards[0].meter(Some("other")).is_none() && shards[0].meter(None).is_none());
        shards[0].quotas.install(&Arc::default());
        assert!(shards[0].meter(Some("c")).is_none());
    });
}

#[test]
fn a_client_may_use_a_second_at_once_and_then_its_rate() {
    run(1, table("*", QuotaKind::ProduceBytes, 100.0), async |shards| {
        let shard = &shards[0];
        assert_eq!(produce(shard, "c", 100.0), Duration::ZERO);
        assert_eq!(produce(shard, "c", 50.0), seconds(0.5));
        assert_eq!(produce(shard, "other", 100.0), Duration::ZERO, "each has its own");
        runtime::sleep(seconds(0.5)).await;
        check_near(produce(shard, "c", 1000.0), 10.0);
        runtime::sleep(seconds(100.0)).await;
        assert_eq!(produce(shard, "c", 100.0), Duration::ZERO, "no more than a second is saved");
        check_near(produce(shard, "c", 100.0), 1.0);
    });
}

#[test]
fn what_one_core_served_counts_on_all() {
    run(3, table("*", QuotaKind::ProduceBytes, 100.0), async |shards| {
        // Before they have heard of each other, each lets a second's worth pass.
        for shard in &shards {
            assert_eq!(produce(shard, "c", 100.0), Duration::ZERO);
        }
        runtime::sleep(seconds(0.15)).await;
        for shard in &shards {
            let debt = produce(shard, "c", 0.0);
            assert!(debt > seconds(1.8) && debt < seconds(1.95), "{debt:?}");
        }
        // And over time the sum holds, wherever the client goes.
        let mut sum = 300.0;
        for turn in 0..200 {
            let shard = &shards[turn % 3];
            runtime::sleep(produce(shard, "c", 40.0)).await;
            sum += 40.0;
        }
        let elapsed = (runtime::now() - Instant::default()).as_secs_f64();
        assert!(sum <= 100.0 * (elapsed + 1.0) + 40.0, "{sum} bytes in {elapsed} s");
        assert!(sum >= 100.0 * (elapsed - 2.0), "{sum} bytes in {elapsed} s");
    });
}

#[test]
fn a_changed_quota_forgives_debts() {
    run(1, table("*", QuotaKind::ProduceBytes, 1.0), async |shards| {
        assert!(produce(&shards[0], "c", 1e9) > seconds(1e6));
        shards[0].quotas.install(&table("*", QuotaKind::ProduceBytes, 100.0));
        assert_eq!(produce(&shards[0], "c", 1.0), Duration::ZERO);
    });
}

#[test]
fn time_of_a_core_is_a_share_of_it_and_its_pauses_are_short() {
    run(1, table("*", QuotaKind::RequestTime, 50.0), async |shards| {
        let worked = |spent: f64| {
            let meter = shards[0].meter(Some("c")).unwrap();
            meter.note(seconds(spent));
            meter.settle()
        };
        assert_eq!(worked(0.5), 0);
        assert_eq!(worked(0.1), 200);
        assert_eq!(worked(10.0), 1000, "a second at most");
    });
}

#[test]
fn mutations_are_refused_while_there_is_debt() {
    run(1, table("*", QuotaKind::Mutations, 2.0), async |shards| {
        let meter = || shards[0].meter(Some("c")).unwrap();
        assert!(meter().may(QuotaKind::Mutations));
        // A topic of 30 partitions fits into the bucket of 22 as Kafka's: what is full may run over.
        meter().charge(QuotaKind::Mutations, 30.0);
        let refused = meter();
        assert!(!refused.may(QuotaKind::Mutations));
        assert_eq!(refused.settle(), 4000);
        runtime::sleep(seconds(4.0)).await;
        assert!(meter().may(QuotaKind::Mutations));
    });
}

#[test]
fn buckets_are_bounded_and_those_that_are_paid_make_room() {
    run(1, table("*", QuotaKind::ProduceBytes, 100.0), async |shards| {
        let ledger = &shards[0].quotas;
        for number in 0..QUOTA_BUCKETS_MAX + 10 {
            produce(&shards[0], &number.to_string(), 1000.0);
        }
        assert_eq!(ledger.bucket_count(), QUOTA_BUCKETS_MAX);
        assert_eq!(produce(&shards[0], "late", 1000.0), Duration::ZERO);
        runtime::sleep(seconds(20.0)).await;
        assert_eq!(produce(&shards[0], "late", 1000.0), seconds(9.0));
        assert_eq!(ledger.bucket_count(), 1);
    });
}
