//! AlterConfigs: replaces all settings of a topic, a group or brokers. What it shares with IncrementalAlterConfigs is
//! here.

use super::configs::{self, Overrides};
use super::create_topics::{Refusal, code_of};
use super::{ControlPlane, dynamic_configs, group_configs, resource};
use crate::runtime;
use crate::shard::control::{
    ConfigOperation, ConfigsChange, ControlError, ControlReply, ControlRequest,
};
use crate::shard::image::BrokerScope;
use crate::wire::api::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use crate::wire::{ErrorCode, Str};

pub async fn handle(
    control_plane: &ControlPlane,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let named = request.resources.iter().map(|one| (one.resource_type, &one.resource_name));
    let twice = resource::named_twice(named);
    let mut responses = Vec::with_capacity(request.resources.len());
    for (asked, is_twice) in request.resources.iter().zip(twice) {
        let outcome = match is_twice {
            true => Err(resource::twice()),
            false => alter(control_plane, asked, request.validate_only).await,
        };
        let (error_code, error_message) = resource::outcome(outcome);
        responses.push(AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: asked.resource_type,
            resource_name: asked.resource_name.clone(),
        });
        runtime::yield_if_needed().await;
    }
    AlterConfigsResponse { responses, ..AlterConfigsResponse::default() }
}

async fn alter(
    control_plane: &ControlPlane,
    asked: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    let names: Vec<&Str> = asked.configs.iter().map(|config| &config.name).collect();
    check_names(&names)?;
    let mut settings = Overrides::new();
    for config in &asked.configs {
        let value = config.value.as_ref().ok_or_else(|| null_value(&config.name))?;
        settings.insert(config.name.to_string(), value.to_string());
    }
    let change = ConfigsChange::Replace(settings);
    apply(control_plane, asked.resource_type, &asked.resource_name, change, validate_only).await
}

/// Every key may be changed once.
///
/// # Errors
/// INVALID_REQUEST.
pub fn check_names(names: &[&Str]) -> Result<(), Refusal> {
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    if sorted.windows(2).any(|two| two[0] == two[1]) {
        return Err((ErrorCode::InvalidRequest, "Error due to duplicate config keys".to_string()));
    }
    Ok(())
}

pub fn null_value(name: &str) -> Refusal {
    (ErrorCode::InvalidRequest, format!("Null value not supported for : {name}"))
}

/// Changes what a resource has set, or only says whether it could be.
///
/// # Errors
/// What Kafka refuses.
pub async fn apply(
    control_plane: &ControlPlane,
    resource_type: i8,
    name: &str,
    change: ConfigsChange,
    validate_only: bool,
) -> Result<(), Refusal> {
    match resource_type {
        resource::TOPIC => {}
        resource::BROKER => {
            return apply_to_brokers(control_plane, name, change, validate_only).await;
        }
        resource::BROKER_LOGGER => return refuse_logger(control_plane, name, &change),
        resource::CLIENT_METRICS => return refuse_client_metrics(name, &change),
        resource::GROUP => return apply_to_group(control_plane, name, change, validate_only).await,
        other => {
            return Err((ErrorCode::InvalidRequest, format!("Unknown resource type {other}")));
        }
    }
    if name.is_empty() {
        let text = "Default topic resources are not allowed.".to_string();
        return Err((ErrorCode::InvalidRequest, text));
    }
    let image = control_plane.shard.image();
    let unknown =
        || (ErrorCode::UnknownTopicOrPartition, format!("The topic '{name}' does not exist."));
    let topic = image.topic(name).ok_or_else(unknown)?;
    configs::changed(&topic.overrides, &change, control_plane.broker(&image))
        .map_err(|text| (ErrorCode::InvalidConfig, text))?;
    if validate_only {
        return Ok(());
    }
    let request = ControlRequest::AlterConfigs { topic_id: topic.id, change };
    match control_plane.shard.control(request).await {
        ControlReply::AlterConfigs(outcome) => {
            outcome.map_err(|error| (code_of(&error), error.to_string()))
        }
        _ => Err((ErrorCode::NotController, "The broker is stopping.".to_string())),
    }
}

/// A group need not be there.
async fn apply_to_group(
    control_plane: &ControlPlane,
    group: &str,
    change: ConfigsChange,
    validate_only: bool,
) -> Result<(), Refusal> {
    if group.is_empty() {
        let text = "Default group resources are not allowed.".to_string();
        return Err((ErrorCode::InvalidRequest, text));
    }
    let image = control_plane.shard.image();
    let current = image.group_overrides.get(group).cloned().unwrap_or_default();
    group_configs::changed(&current, &change, control_plane.broker(&image))
        .map_err(|text| (ErrorCode::InvalidConfig, text))?;
    if validate_only {
        return Ok(());
    }
    let request = ControlRequest::AlterGroupConfigs { group: group.to_string(), change };
    match control_plane.shard.control(request).await {
        ControlReply::AlterGroupConfigs(outcome) => {
            outcome.map_err(|error| (code_of(&error), error.to_string()))
        }
        _ => Err((ErrorCode::NotController, "The broker is stopping.".to_string())),
    }
}

/// All brokers, or one by its id: any of this host's, on which all cores keep to one configuration.
async fn apply_to_brokers(
    control_plane: &ControlPlane,
    name: &str,
    change: ConfigsChange,
    validate_only: bool,
) -> Result<(), Refusal> {
    let scope = if name.is_empty() {
        BrokerScope::All
    } else {
        check_node(control_plane, name)?;
        BrokerScope::Host
    };
    let refusal = |error: ControlError| (code_of(&error), error.to_string());
    let image = control_plane.shard.image();
    let current = &image.broker_overrides;
    dynamic_configs::changed(current, scope, &change, &control_plane.config).map_err(refusal)?;
    if validate_only {
        return Ok(());
    }
    let request = ControlRequest::AlterBrokerConfigs { scope, change };
    match control_plane.shard.control(request).await {
        ControlReply::AlterBrokerConfigs(outcome) => outcome.map_err(refusal),
        _ => Err((ErrorCode::NotController, "The broker is stopping.".to_string())),
    }
}

/// Whether a change sets anything; what is not set can always be deleted.
fn sets_something(change: &ConfigsChange) -> bool {
    match change {
        ConfigsChange::Replace(settings) => !settings.is_empty(),
        ConfigsChange::Merge(changes) => {
            changes.iter().any(|(_, operation)| *operation != ConfigOperation::Delete)
        }
    }
}

/// Nobody asks clients for their metrics (KIP-714), so there is nothing to subscribe to.
fn refuse_client_metrics(name: &str, change: &ConfigsChange) -> Result<(), Refusal> {
    if name.is_empty() {
        let text = "Subscription name can't be empty".to_string();
        return Err((ErrorCode::InvalidRequest, text));
    }
    if sets_something(change) {
        let text = "This broker does not collect metrics of clients.".to_string();
        return Err((ErrorCode::InvalidRequest, text));
    }
    Ok(())
}

/// There is one logger to clients, whose level comes from the configuration.
fn refuse_logger(
    control_plane: &ControlPlane,
    name: &str,
    change: &ConfigsChange,
) -> Result<(), Refusal> {
    check_node(control_plane, name)?;
    let ConfigsChange::Merge(changes) = change else {
        let text = "Log levels can only be changed one by one.".to_string();
        return Err((ErrorCode::InvalidRequest, text));
    };
    let Some((logger, operation)) = changes.first() else { return Ok(()) };
    let text = match operation {
        ConfigOperation::Append(_) | ConfigOperation::Subtract(_) => "A log level is not a list.",
        _ if logger != resource::ROOT_LOGGER => {
            return Err((ErrorCode::InvalidConfig, format!("Logger {logger} does not exist!")));
        }
        _ => "Log levels cannot be changed while the broker runs; logging.filter sets them.",
    };
    Err((ErrorCode::InvalidRequest, text.to_string()))
}

fn check_node(control_plane: &ControlPlane, name: &str) -> Result<(), Refusal> {
    let number = name.parse::<i32>().map_err(|_| {
        (ErrorCode::InvalidRequest, format!("Node id must be an integer, but it is: {name}"))
    })?;
    if control_plane.endpoints.shard_of(number).is_none() {
        let own = control_plane.endpoints.controller_id();
        let text = format!("Unexpected broker id, expected {own}, but received {name}");
        return Err((ErrorCode::InvalidRequest, text));
    }
    Ok(())
}
