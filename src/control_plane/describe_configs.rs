//! DescribeConfigs: what is set for a topic, a group or a broker, by whom, and what that means.

use super::broker_configs::broker_key;
use super::configs::{Kind, Overrides, Source, TOPIC_KEYS, TopicKey};
use super::create_topics::Refusal;
use super::dynamic_configs::{self, BrokerSettings};
use super::group_configs::{GROUP_KEYS, GroupKey};
use super::{ControlPlane, resource, topic_name};
use crate::config::Config;
use crate::limits::DESCRIBED_CONFIGS_BYTES_MAX;
use crate::runtime;
use crate::shard::image::BrokerScope;
use crate::wire::api::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::wire::{ErrorCode, Str};
use std::collections::HashSet;

/// What the client wants beside values.
#[derive(Clone, Copy)]
struct Wanted {
    synonyms: bool,
    documentation: bool,
}

/// As Kafka, a resource is answered as often as it is named; but all answers together are bounded.
pub async fn handle(
    control_plane: &ControlPlane,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let wanted =
        Wanted { synonyms: request.include_synonyms, documentation: request.include_documentation };
    let mut room = DESCRIBED_CONFIGS_BYTES_MAX;
    let mut results = Vec::with_capacity(request.resources.len());
    for asked in &request.resources {
        let described = match room {
            0 => Err((ErrorCode::PolicyViolation, TOO_MUCH.to_string())),
            _ => describe(control_plane, asked, wanted),
        };
        let (error_code, error_message, configs) = match described {
            Ok(configs) => (ErrorCode::None, String::new(), configs),
            Err((error_code, text)) => (error_code, text, Vec::new()),
        };
        room = room.saturating_sub(configs.iter().map(memory_of).sum());
        results.push(DescribeConfigsResult {
            error_code,
            error_message: Some(error_message.into()),
            resource_type: asked.resource_type,
            resource_name: asked.resource_name.clone(),
            configs,
        });
        runtime::yield_if_needed().await;
    }
    DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() }
}

const TOO_MUCH: &str = "Too much for one answer: ask for it in another request.";

/// What an entry takes, here and on the wire.
fn memory_of(config: &DescribeConfigsResourceResult) -> usize {
    let text = |text: &Option<Str>| text.as_ref().map_or(0, |text| text.len());
    let synonym = |synonym: &DescribeConfigsSynonym| {
        size_of::<DescribeConfigsSynonym>() + synonym.name.len() + text(&synonym.value)
    };
    size_of::<DescribeConfigsResourceResult>()
        + config.name.len()
        + text(&config.value)
        + text(&config.documentation)
        + config.synonyms.iter().map(synonym).sum::<usize>()
}

fn describe(
    control_plane: &ControlPlane,
    asked: &DescribeConfigsResource,
    wanted: Wanted,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let name = asked.resource_name.as_str();
    let keys = asked.configuration_keys.as_deref().filter(|keys| !keys.is_empty());
    // A client may name a million, and a broker has hundreds.
    let keys: Option<HashSet<&str>> = keys.map(|keys| keys.iter().map(Str::as_str).collect());
    let is_asked = |name: &str| keys.as_ref().is_none_or(|keys| keys.contains(name));
    let image = control_plane.shard.image();
    let broker = control_plane.broker(&image);
    match asked.resource_type {
        resource::TOPIC => {
            topic_name::check(name).map_err(|text| (ErrorCode::InvalidTopicException, text))?;
            let unknown = || (ErrorCode::UnknownTopicOrPartition, String::new());
            let topic = image.topic(name).ok_or_else(unknown)?;
            let keys = TOPIC_KEYS.iter().filter(|key| is_asked(key.name));
            Ok(keys.map(|key| describe_topic_key(key, &topic.overrides, broker, wanted)).collect())
        }
        resource::BROKER => {
            // The empty name asks for what is set for all brokers while they run, and for nothing else.
            let is_one = check_broker(control_plane, name)?;
            let names = match is_one {
                true => broker.names(),
                false => broker.names_set_for(BrokerScope::All),
            };
            let names = names.into_iter().filter(|name| is_asked(name));
            Ok(names.map(|name| describe_broker_key(name, broker, is_one, wanted)).collect())
        }
        resource::BROKER_LOGGER => {
            if !check_broker(control_plane, name)? {
                let text = "Broker id must not be empty".to_string();
                return Err((ErrorCode::InvalidRequest, text));
            }
            let is_asked = is_asked(resource::ROOT_LOGGER);
            let root = is_asked.then(|| describe_root_logger(&control_plane.config));
            Ok(root.into_iter().collect())
        }
        resource::CLIENT_METRICS if name.is_empty() => {
            let text = "Client metrics subscription name must not be empty".to_string();
            Err((ErrorCode::InvalidRequest, text))
        }
        resource::GROUP if name.is_empty() => {
            Err((ErrorCode::InvalidRequest, "Group name must not be empty".to_string()))
        }
        resource::CLIENT_METRICS => {
            let keys = CLIENT_METRICS_KEYS.iter().filter(|(name, ..)| is_asked(name));
            Ok(keys.map(|key| describe_client_metrics_key(key, wanted)).collect())
        }
        resource::GROUP => {
            let overrides = image.group_overrides.get(name);
            let keys = GROUP_KEYS.iter().filter(|key| is_asked(key.name));
            Ok(keys.map(|key| describe_group_key(key, overrides, broker, wanted)).collect())
        }
        other => Err((ErrorCode::InvalidRequest, format!("Unsupported resource type: {other}"))),
    }
}

/// What a subscription to clients' metrics would have (KIP-714), if any could be made: name, type, default.
const CLIENT_METRICS_KEYS: &[(&str, i8, &str)] =
    &[("interval.ms", 3, "300000"), ("match", 7, ""), ("metrics", 7, "")];

fn describe_client_metrics_key(
    (name, config_type, default): &(&'static str, i8, &'static str),
    wanted: Wanted,
) -> DescribeConfigsResourceResult {
    let doc = Str::from_static("No effect: this broker does not collect metrics of clients.");
    DescribeConfigsResourceResult {
        name: Str::from_static(name),
        value: Some(Str::from_static(default)),
        is_default: true,
        config_source: Source::Default as i8,
        config_type: *config_type,
        documentation: wanted.documentation.then_some(doc),
        ..DescribeConfigsResourceResult::default()
    }
}

/// The level that holds for all that no other part of `logging.filter` names.
fn describe_root_logger(config: &Config) -> DescribeConfigsResourceResult {
    let mut parts = config.logging.filter.split(',').map(str::trim);
    let level = parts.find(|part| !part.contains('=')).unwrap_or("off");
    DescribeConfigsResourceResult {
        name: Str::from_static(resource::ROOT_LOGGER),
        value: Some(level.to_uppercase().into()),
        read_only: true,
        config_source: Source::Logger as i8,
        ..DescribeConfigsResourceResult::default()
    }
}

/// Whether the name is a broker's, not that of all.
fn check_broker(control_plane: &ControlPlane, name: &str) -> Result<bool, Refusal> {
    if name.is_empty() {
        return Ok(false);
    }
    let invalid = |text: String| (ErrorCode::InvalidRequest, text);
    let id = name.parse::<i32>();
    let id = id.map_err(|_| invalid(format!("Broker id must be an integer, but it is: {name}")))?;
    if control_plane.endpoints.shard_of(id).is_none() {
        let own = control_plane.endpoints.controller_id();
        return Err(invalid(format!(
            "Unexpected broker id, expected {own} or empty string, but received {id}"
        )));
    }
    Ok(true)
}

/// One of the places that give a value (KIP-226).
fn synonym((name, value, source): (&str, String, Source)) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym {
        name: Str::from(name),
        value: Some(value.into()),
        source: source as i8,
    }
}

fn describe_topic_key(
    key: &TopicKey,
    overrides: &Overrides,
    broker: BrokerSettings<'_>,
    wanted: Wanted,
) -> DescribeConfigsResourceResult {
    let own = overrides.get(key.name);
    let source = if own.is_some() { Source::Topic } else { key.default_source(broker) };
    let mut synonyms = Vec::new();
    if wanted.synonyms {
        synonyms.extend(own.map(|value| synonym((key.name, value.clone(), Source::Topic))));
        let given = key.broker_name.map(|name| broker.given(name));
        synonyms.extend(given.into_iter().flatten().map(synonym));
    }
    let value = own.cloned().unwrap_or_else(|| key.default_value(broker));
    DescribeConfigsResourceResult {
        name: Str::from_static(key.name),
        value: Some(value.into()),
        is_default: own.is_none(),
        config_source: source as i8,
        synonyms,
        config_type: key.kind.number(),
        documentation: wanted.documentation.then(|| Str::from_static(key.doc)),
        ..DescribeConfigsResourceResult::default()
    }
}

fn describe_group_key(
    key: &GroupKey,
    overrides: Option<&Overrides>,
    broker: BrokerSettings<'_>,
    wanted: Wanted,
) -> DescribeConfigsResourceResult {
    let own = overrides.and_then(|overrides| overrides.get(key.name));
    let source = if own.is_some() { Source::Group } else { key.default_source(broker) };
    let mut synonyms = Vec::new();
    if wanted.synonyms {
        synonyms.extend(own.map(|value| synonym((key.name, value.clone(), Source::Group))));
        let given = match key.broker_name {
            Some(name) => broker.given(name),
            None => vec![(key.name, key.default_value(broker), Source::Default)],
        };
        synonyms.extend(given.into_iter().map(synonym));
    }
    let value = own.cloned().unwrap_or_else(|| key.default_value(broker));
    DescribeConfigsResourceResult {
        name: Str::from_static(key.name),
        value: Some(value.into()),
        is_default: own.is_none(),
        config_source: source as i8,
        synonyms,
        config_type: key.kind.number(),
        documentation: wanted.documentation.then(|| Str::from_static(key.doc)),
        ..DescribeConfigsResourceResult::default()
    }
}

/// What holds for one broker, or else what is set for all. The value of what nobody knows may be a secret, as with
/// Kafka.
fn describe_broker_key(
    name: &str,
    broker: BrokerSettings<'_>,
    is_one: bool,
    wanted: Wanted,
) -> DescribeConfigsResourceResult {
    let (key, kind) = (broker_key(name), dynamic_configs::kind_of(name));
    let mut given = broker.given(name);
    given.retain(|(_, _, source)| is_one || *source == Source::DynamicDefaultBroker);
    let source = given.first().map_or(Source::Default, |(_, _, source)| *source);
    let is_sensitive = key.is_none() && kind.is_none();
    let value = match given.first() {
        _ if is_one => broker.value(name),
        first => first.map(|(_, value, _)| value.clone()),
    };
    let mut synonyms: Vec<DescribeConfigsSynonym> = Vec::new();
    if wanted.synonyms {
        synonyms.extend(given.into_iter().map(synonym));
    }
    if is_sensitive {
        synonyms.iter_mut().for_each(|synonym| synonym.value = None);
    }
    let of_kind = kind.map_or(0, Kind::number);
    DescribeConfigsResourceResult {
        name: Str::from(name),
        value: value.filter(|_| !is_sensitive).map(Str::from),
        read_only: kind.is_none(),
        is_default: source == Source::Default,
        config_source: source as i8,
        is_sensitive,
        synonyms,
        config_type: key.map_or(of_kind, |key| key.kind as i8),
        documentation: key.filter(|_| wanted.documentation).map(|key| Str::from_static(key.doc)),
    }
}
