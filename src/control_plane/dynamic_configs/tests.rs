//! Settings of brokers, alone and as clients meet them on all shards of a host with per-core endpoints. That Apache
//! Kafka answers the same is checked against recordings of it (tests/clients/oracle.py).

use super::*;
use crate::control_plane::harness::{self, Host};
use crate::log::{AppendError, LogConfig};
use crate::runtime;
use crate::runtime::sim::Simulation;
use crate::shard::control::{ControlReply, ControlRequest, NewTopic};
use crate::shard::image::PartitionPlace;
use crate::shard::request::PartitionKey;
use crate::types::{ShardId, Timestamp};
use crate::wire::ErrorCode;
use crate::wire::api::alter_configs::{self, AlterConfigsRequest};
use crate::wire::api::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
};
use crate::wire::api::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use crate::wire::batch::testing::batch;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

fn overrides(pairs: &[(&str, &str)]) -> Overrides {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn merge(name: &str, operation: ConfigOperation) -> ConfigsChange {
    ConfigsChange::Merge(vec![(name.to_string(), operation)])
}

fn set(name: &str, value: &str) -> ConfigsChange {
    merge(name, ConfigOperation::Set(value.to_string()))
}

/// What is set for all brokers after a change, when nothing was set before.
fn changed_alone(change: &ConfigsChange) -> Result<Overrides, ControlError> {
    changed(&BrokerOverrides::default(), BrokerScope::All, change, &Config::default())
}

#[test]
fn every_default_passes_its_own_check_and_has_its_keys_type() {
    let config = Config::default();
    let mut count = 0;
    for key in BROKER_KEYS {
        let Some(kind) = kind_of(key.name) else { continue };
        count += 1;
        assert_eq!(kind.number(), key.kind as i8, "{}", key.name);
        if let Some(value) = key.value(&config) {
            assert_eq!(kind.check(&value), Ok(value), "{}", key.name);
        }
    }
    // All that topics have from brokers, and four more.
    let of_topics = TOPIC_KEYS.iter().filter(|key| !key.name.starts_with("corelog."));
    assert_eq!(count, of_topics.filter(|key| key.broker_name.is_some()).count() + 4);
}

#[test]
fn what_cannot_be_changed_is_refused_and_what_nobody_knows_is_kept() {
    for name in ["num.partitions", "listeners", "durability", "num.io.threads", "ssl.protocol"] {
        let text = format!("Cannot update these configs dynamically: [{name}]");
        assert_eq!(changed_alone(&set(name, "1")), Err(ControlError::InvalidRequest(text)));
        // It is not set, so it can be deleted.
        let deleted = changed_alone(&merge(name, ConfigOperation::Delete));
        assert_eq!(deleted, Ok(Overrides::new()));
    }
    let both = ConfigsChange::Replace(overrides(&[
        ("node.id", "1"),
        ("log.retention.ms", "x"),
        ("broker.id", "1"),
    ]));
    let text = "Cannot update these configs dynamically: [broker.id, node.id]".to_string();
    assert_eq!(changed_alone(&both), Err(ControlError::InvalidRequest(text)));
    for name in ["my.plugin.secret", "log.retention.mss", "leader.replication.throttled.rate"] {
        assert_eq!(changed_alone(&set(name, " 5 ")), Ok(overrides(&[(name, "5")])));
    }
    assert!(changed_alone(&set("leader.replication.throttled.rate", "-1")).is_err());
    let many = (0..=UNKNOWN_BROKER_SETTINGS_MAX).map(|number| (format!("x{number}"), "".into()));
    let refused = changed_alone(&ConfigsChange::Replace(many.collect()));
    assert!(matches!(refused, Err(ControlError::TooMany(_))), "{refused:?}");
}

#[test]
fn what_kafka_refuses_is_refused_in_its_words() {
    for (name, value, why) in [
        (
            "log.retention.ms",
            "soon",
            "Invalid value soon for configuration log.retention.ms: Not a number of type LONG",
        ),
        (
            "log.segment.bytes",
            "1",
            "Invalid value 1 for configuration log.segment.bytes: Value must be at least 1048576",
        ),
        (
            "log.retention.ms",
            "0",
            "requirement failed: log.retention.ms must be unlimited (-1) or, greater than or equal \
             to 1",
        ),
        ("log.roll.ms", "0", "requirement failed: log.roll.ms must be greater than or equal to 1"),
        (
            "log.roll.jitter.ms",
            "-1",
            "requirement failed: log.roll.jitter.ms must be greater than or equal to 0",
        ),
        (
            ASSIGNMENT_INTERVAL,
            "15001",
            "group.consumer.assignment.interval.ms must be less than or equal to \
             group.consumer.max.assignment.interval.ms",
        ),
        ("log.local.retention.ms", "604800001", "Invalid dynamic configuration"),
        ("log.local.retention.ms", "-1", "Invalid dynamic configuration"),
    ] {
        let refused = changed_alone(&set(name, value));
        assert_eq!(refused, Err(ControlError::InvalidRequest(why.to_string())), "{name}={value}");
    }
    for (name, value) in [
        ("log.retention.ms", "-5"),
        ("log.flush.interval.ms", "-5"),
        ("log.local.retention.ms", "604800000"),
        ("log.local.retention.bytes", "9"),
    ] {
        assert!(changed_alone(&set(name, value)).is_ok(), "{name}={value}");
    }
}

#[test]
fn lists_grow_and_shrink_from_the_default_and_nothing_else_does() {
    let append = |name: &str, value: &str| {
        changed_alone(&merge(name, ConfigOperation::Append(value.to_string())))
    };
    let subtract = |name: &str, value: &str| {
        changed_alone(&merge(name, ConfigOperation::Subtract(value.to_string())))
    };
    let name = "log.cleanup.policy";
    assert_eq!(append(name, "compact"), Ok(overrides(&[(name, "delete,compact")])));
    assert_eq!(subtract(name, "delete"), Ok(overrides(&[(name, "")])));
    assert!(matches!(append(name, "shred"), Err(ControlError::InvalidRequest(_))));
    let text = "Config value append is not allowed for config key: log.retention.ms";
    let refused = append("log.retention.ms", "1");
    assert_eq!(refused, Err(ControlError::InvalidConfig(text.to_string())));
    let text = "Unknown config name: no.such";
    assert_eq!(subtract("no.such", "1"), Err(ControlError::InvalidConfig(text.to_string())));
    assert!(matches!(append("listeners", "x"), Err(ControlError::InvalidRequest(_))));
}

#[test]
fn a_scope_is_checked_together_with_the_other() {
    let config = Config::default();
    let current = BrokerOverrides {
        all: overrides(&[("log.roll.ms", "5"), ("message.max.bytes", "no number"), ("a", "b")]),
        host: overrides(&[("log.retention.ms", "1000")]),
    };
    let local = set("log.local.retention.ms", "1001");
    let refused = changed(&current, BrokerScope::All, &local, &config);
    assert_eq!(refused, Err(ControlError::InvalidRequest("Invalid dynamic configuration".into())));
    // What cannot be read is gone with the next change; the rest of the scope stays.
    let after = changed(&current, BrokerScope::All, &set("log.segment.bytes", "9999999"), &config);
    let expect = [("a", "b"), ("log.roll.ms", "5"), ("log.segment.bytes", "9999999")];
    assert_eq!(after, Ok(overrides(&expect)));
    let replace = ConfigsChange::Replace(Overrides::new());
    assert_eq!(changed(&current, BrokerScope::Host, &replace, &config), Ok(Overrides::new()));
}

#[test]
fn what_gives_a_value_is_told_in_the_order_that_holds() {
    let mut config = Config::default();
    config.log.segment_bytes = 1 << 21;
    let set = BrokerOverrides {
        all: overrides(&[("log.segment.bytes", "2000000"), ("log.retention.ms", "-7")]),
        host: overrides(&[("log.segment.bytes", "3000000"), ("log.roll.ms", "soon")]),
    };
    let broker = BrokerSettings { config: &config, overrides: &set };
    let given = |name: &'static str| -> Vec<(&str, String, i8)> {
        let given = broker.given(name).into_iter();
        given.map(|(name, value, source)| (name, value, source as i8)).collect()
    };
    let name = "log.segment.bytes";
    let expect = [("3000000", 2), ("2000000", 3), ("2097152", 4), ("1073741824", 5)];
    assert_eq!(given(name), expect.map(|(value, source)| (name, value.to_string(), source)));
    let retention = [("log.retention.ms", "-7", 3), ("log.retention.hours", "168", 5)];
    let retention = retention.map(|(name, value, source)| (name, value.to_string(), source));
    assert_eq!(given("log.retention.ms"), retention);
    assert_eq!(given("log.retention.hours"), retention[1..].to_vec());
    assert!(given("log.retention.minutes").is_empty());
    assert!(given("log.roll.ms").is_empty(), "it cannot be read, and has no default");
    let topic = |name: &str| {
        let key = configs::topic_key(name).unwrap();
        (key.default_value(broker), key.default_source(broker))
    };
    assert_eq!(topic("segment.bytes"), ("3000000".into(), Source::DynamicBroker));
    assert_eq!(topic("retention.ms"), ("-1".into(), Source::DynamicDefaultBroker));
    assert_eq!(topic("segment.ms"), ("604800000".into(), Source::Default));
    let log = configs::log_config(&Overrides::new(), broker);
    let expect = LogConfig { segment_bytes: 3_000_000, retention_ms: -1, ..LogConfig::default() };
    assert_eq!(log, expect);
}

// ---------------------------------------------------------------- on all shards

fn run(test: impl AsyncFnOnce(Host)) {
    Simulation::new(1).run(async { test(harness::start(2).await).await });
}

/// Sets or, without a value, deletes one setting.
async fn alter(
    host: &Host,
    (resource_type, name): (i8, &str),
    key: &str,
    value: Option<&str>,
    validate_only: bool,
) -> (ErrorCode, String) {
    let config = AlterableConfig {
        name: key.into(),
        config_operation: i8::from(value.is_none()),
        value: value.map(Into::into),
    };
    let resource =
        AlterConfigsResource { resource_type, resource_name: name.into(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only };
    let answer = host.call(1, 1, request).await.responses.remove(0);
    (answer.error_code, answer.error_message.map(|text| text.to_string()).unwrap_or_default())
}

async fn done(host: &Host, resource: (i8, &str), key: &str, value: Option<&str>) {
    let answer = alter(host, resource, key, value, false).await;
    assert_eq!(answer, (ErrorCode::None, String::new()), "{resource:?} {key}={value:?}");
}

async fn describe(
    host: &Host,
    (resource_type, name): (i8, &str),
    keys: &[&str],
) -> Vec<DescribeConfigsResourceResult> {
    let resource = DescribeConfigsResource {
        resource_type,
        resource_name: name.into(),
        configuration_keys: Some(keys.iter().map(|key| (*key).into()).collect()),
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        ..DescribeConfigsRequest::default()
    };
    let answer = host.call(0, 4, request).await.results.remove(0);
    assert_eq!(answer.error_code, ErrorCode::None, "{answer:?}");
    answer.configs
}

/// A setting's value and source, and those of all places that give it.
async fn shown(host: &Host, resource: (i8, &str), key: &str) -> (String, Vec<(String, i8)>) {
    let config = describe(host, resource, &[key]).await.remove(0);
    let given: Vec<(String, i8)> = config
        .synonyms
        .iter()
        .map(|one| (one.value.as_ref().unwrap().to_string(), one.source))
        .collect();
    assert_eq!(given.first().map_or(5, |(_, source)| *source), config.config_source, "{config:?}");
    (config.value.unwrap().to_string(), given)
}

async fn create(host: &Host, name: &str, set: &[(&str, &str)]) {
    let topic = NewTopic {
        name: name.to_string(),
        partitions: 2,
        places: Some(vec![ShardId(0), ShardId(1)]),
        overrides: overrides(set),
    };
    match host.shards[0].control(ControlRequest::CreateTopics(vec![topic])).await {
        ControlReply::CreateTopics(made) => assert!(made[0].is_ok(), "{made:?}"),
        other => panic!("{other:?}"),
    }
}

/// Largest batch that each partition of a topic takes, as its log says.
fn batch_bytes_max(host: &Host, topic: &str) -> Vec<usize> {
    let topic = host.shards[0].image().topic(topic).unwrap().clone();
    let limit = |(index, place): (i32, &PartitionPlace)| {
        let key = PartitionKey { topic_id: topic.id, index };
        let log = host.shards[place.shard.index()].partition(key).unwrap();
        let large = batch(&[&vec![7; 4 << 20]], Timestamp(0), None);
        match log.append(large.into(), runtime::wall_clock()) {
            Err(AppendError::TooLarge { limit, .. }) => limit,
            other => panic!("{other:?}"),
        }
    };
    (0..).zip(&topic.partitions).map(limit).collect()
}

#[test]
fn what_is_set_for_brokers_holds_at_once_for_topics_without_their_own_and_survives_a_crash() {
    let simulation = Simulation::new(3);
    let key = "message.max.bytes";
    simulation.run(async {
        let host = harness::start(2).await;
        create(&host, "t", &[]).await;
        create(&host, "own", &[("max.message.bytes", "5000")]).await;
        assert_eq!(batch_bytes_max(&host, "t"), [1_048_588, 1_048_588]);
        done(&host, (BROKER, ""), key, Some("3000")).await;
        assert_eq!(batch_bytes_max(&host, "t"), [3000, 3000]);
        // Each core is a broker, and all are one host.
        done(&host, (BROKER, "1025"), key, Some("2000")).await;
        assert_eq!(batch_bytes_max(&host, "t"), [2000, 2000]);
        assert_eq!(batch_bytes_max(&host, "own"), [5000, 5000]);
        create(&host, "later", &[]).await;
        assert_eq!(batch_bytes_max(&host, "later"), [2000, 2000]);
        done(&host, (TOPIC, "own"), "max.message.bytes", None).await;
        assert_eq!(batch_bytes_max(&host, "own"), [2000, 2000]);
    });
    simulation.crash();
    for shards in [3, 1] {
        simulation.run(async {
            let host = harness::start(shards).await;
            assert_eq!(batch_bytes_max(&host, "t"), [2000, 2000]);
            let name = if shards > 1 { "1026" } else { "1" };
            let (value, given) = shown(&host, (BROKER, name), key).await;
            assert_eq!(value, "2000");
            let expect = [("2000", 2), ("3000", 3), ("1048588", 5)];
            assert_eq!(given, expect.map(|(value, source)| (value.to_string(), source)));
        });
        simulation.kill();
    }
    simulation.run(async {
        let host = harness::start(2).await;
        done(&host, (BROKER, "1024"), key, None).await;
        assert_eq!(batch_bytes_max(&host, "t"), [3000, 3000]);
        done(&host, (BROKER, ""), key, None).await;
        assert_eq!(batch_bytes_max(&host, "t"), [1_048_588, 1_048_588]);
    });
    simulation.crash();
    simulation.run(async {
        let host = harness::start(2).await;
        assert_eq!(batch_bytes_max(&host, "t"), [1_048_588, 1_048_588]);
        assert_eq!(*host.shards[1].image().broker_overrides, BrokerOverrides::default());
    });
}

#[test]
fn sources_and_synonyms_of_brokers_topics_and_groups_are_kafkas() {
    run(async |host| {
        create(&host, "t", &[]).await;
        let text = |pairs: &[(&str, i8)]| -> Vec<(String, i8)> {
            pairs.iter().map(|(value, source)| (value.to_string(), *source)).collect()
        };
        assert_eq!(describe(&host, (BROKER, ""), &["log.retention.ms"]).await.len(), 0);
        let unset = describe(&host, (BROKER, "1024"), &["log.retention.ms"]).await.remove(0);
        assert_eq!((unset.value, unset.config_source, unset.synonyms.len()), (None, 5, 0));
        assert!(!unset.read_only);
        let fixed = describe(&host, (BROKER, "1024"), &["num.partitions"]).await.remove(0);
        assert!(fixed.read_only);
        done(&host, (BROKER, ""), "log.retention.ms", Some("77")).await;
        let expect = ("77".to_string(), text(&[("77", 3), ("168", 5)]));
        assert_eq!(shown(&host, (BROKER, "1025"), "log.retention.ms").await, expect);
        assert_eq!(shown(&host, (TOPIC, "t"), "retention.ms").await, expect);
        let of_all = ("77".to_string(), text(&[("77", 3)]));
        assert_eq!(shown(&host, (BROKER, ""), "log.retention.ms").await, of_all);
        done(&host, (TOPIC, "t"), "retention.ms", Some("5")).await;
        let own = ("5".to_string(), text(&[("5", 1), ("77", 3), ("168", 5)]));
        assert_eq!(shown(&host, (TOPIC, "t"), "retention.ms").await, own);
        done(&host, (BROKER, "1024"), ASSIGNMENT_INTERVAL, Some("2000")).await;
        let of_group = shown(&host, (GROUP, "g"), "consumer.assignment.interval.ms").await;
        assert_eq!(of_group, ("2000".to_string(), text(&[("2000", 2), ("1000", 5)])));
        // What nobody knows may be a secret.
        done(&host, (BROKER, "1024"), "my.plugin.secret", Some("12345")).await;
        let secret = describe(&host, (BROKER, "1024"), &["my.plugin.secret"]).await.remove(0);
        assert_eq!((secret.value, secret.synonyms[0].value.clone()), (None, None));
        assert_eq!((secret.is_sensitive, secret.read_only, secret.config_source), (true, true, 2));
        assert_eq!(describe(&host, (BROKER, ""), &["my.plugin.secret"]).await.len(), 0);
        // A throttle is shown once it is set.
        let throttle = "leader.replication.throttled.rate";
        assert_eq!(describe(&host, (BROKER, "1024"), &[throttle]).await.len(), 0);
        done(&host, (BROKER, "1024"), throttle, Some("9")).await;
        let shown = shown(&host, (BROKER, "1024"), throttle).await;
        assert_eq!(shown, ("9".to_string(), text(&[("9", 2)])));
    });
}

#[test]
fn changes_that_are_refused_or_only_tried_change_nothing() {
    run(async |host| {
        let refused = async |name: &str, key: &str, value: &str| {
            alter(&host, (BROKER, name), key, Some(value), false).await
        };
        let invalid = ErrorCode::InvalidRequest;
        for (name, key, text) in [
            ("1026", "log.roll.ms", "Unexpected broker id, expected 1024, but received 1026"),
            ("x", "log.roll.ms", "Node id must be an integer, but it is: x"),
            ("1024", "node.id", "Cannot update these configs dynamically: [node.id]"),
            ("", "node.id", "Cannot update these configs dynamically: [node.id]"),
        ] {
            assert_eq!(refused(name, key, "1").await, (invalid, text.to_string()), "{name} {key}");
        }
        let before = host.shards[0].image().version;
        let tried = alter(&host, (BROKER, ""), "log.roll.ms", Some("9"), true).await;
        assert_eq!(tried, (ErrorCode::None, String::new()));
        assert_eq!(alter(&host, (BROKER, ""), "log.roll.ms", Some("0"), true).await.0, invalid);
        assert_eq!(host.shards[0].image().version, before);
        // AlterConfigs replaces all of the one resource.
        done(&host, (BROKER, ""), "log.roll.ms", Some("9")).await;
        done(&host, (BROKER, "1024"), "log.roll.ms", Some("8")).await;
        let value = Some("7".into());
        let resource = alter_configs::AlterConfigsResource {
            resource_type: BROKER,
            resource_name: "1025".into(),
            configs: vec![alter_configs::AlterableConfig { name: CONNECTIONS_MAX.into(), value }],
        };
        let request = AlterConfigsRequest { resources: vec![resource], validate_only: false };
        assert_eq!(host.call(0, 2, request).await.responses[0].error_code, ErrorCode::None);
        for shard in &host.shards {
            let image = shard.image();
            assert_eq!(image.broker_overrides.all, overrides(&[("log.roll.ms", "9")]));
            assert_eq!(image.broker_overrides.host, overrides(&[(CONNECTIONS_MAX, "7")]));
            assert_eq!(image.connections_max, Some(7));
        }
    });
}
