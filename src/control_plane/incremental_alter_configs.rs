//! IncrementalAlterConfigs (KIP-339): sets, deletes, appends to or subtracts from some settings of a topic, a group or
//! brokers.

use super::alter_configs::{apply, check_names, null_value};
use super::create_topics::Refusal;
use super::{ControlPlane, resource};
use crate::runtime;
use crate::shard::control::{ConfigOperation, ConfigsChange};
use crate::wire::api::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use crate::wire::{ErrorCode, Str};

pub async fn handle(
    control_plane: &ControlPlane,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
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
    IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() }
}

async fn alter(
    control_plane: &ControlPlane,
    asked: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    let names: Vec<&Str> = asked.configs.iter().map(|config| &config.name).collect();
    check_names(&names)?;
    let changes = asked.configs.iter().map(|config| operation(asked.resource_type, config));
    let changes = changes.collect::<Result<_, _>>()?;
    let change = ConfigsChange::Merge(changes);
    apply(control_plane, asked.resource_type, &asked.resource_name, change, validate_only).await
}

fn operation(
    resource_type: i8,
    config: &AlterableConfig,
) -> Result<(String, ConfigOperation), Refusal> {
    let value = || {
        let value = config.value.as_ref().map(Str::to_string);
        value.ok_or_else(|| null_value(&config.name))
    };
    let operation = match config.config_operation {
        0 => ConfigOperation::Set(value()?),
        1 => ConfigOperation::Delete,
        2 => ConfigOperation::Append(value()?),
        3 => ConfigOperation::Subtract(value()?),
        other if resource_type == resource::BROKER => {
            return Err((ErrorCode::InvalidRequest, format!("Unknown operations type {other}")));
        }
        other => return Err((ErrorCode::UnknownServerError, format!("no operation {other}"))),
    };
    Ok((config.name.to_string(), operation))
}
