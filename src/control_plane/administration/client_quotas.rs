//! DescribeClientQuotas and AlterClientQuotas (KIP-546): checked here, kept by the controller, held by
//! `shard::quotas`. Quotas of addresses (KIP-612) are not enforced, so none is kept.

use crate::control_plane::ControlPlane;
use crate::control_plane::create_topics::{Refusal, code_of};
use crate::runtime;
use crate::shard::control::{ControlReply, ControlRequest};
use crate::shard::quota_table::{QuotaEntity, QuotaKind, QuotaName, QuotaValues};
use crate::wire::api::alter_client_quotas::{
    self, AlterClientQuotasRequest, AlterClientQuotasResponse, EntryResult, OpData,
};
use crate::wire::api::describe_client_quotas::{
    self, ComponentData, DescribeClientQuotasRequest, DescribeClientQuotasResponse, ValueData,
};
use crate::wire::{ErrorCode, Str};
use std::collections::BTreeMap;

const USER: &str = "user";
const CLIENT: &str = "client-id";
const ADDRESS: &str = "ip";

type Changes = Vec<(QuotaKind, Option<u64>)>;

fn invalid<T>(text: impl Into<String>) -> Result<T, Refusal> {
    Err((ErrorCode::InvalidRequest, text.into()))
}

// ---------------------------------------------------------------- changing

pub async fn alter(
    control_plane: &ControlPlane,
    request: AlterClientQuotasRequest,
) -> AlterClientQuotasResponse {
    // An entity by its parts, in the order in which it is named first, and how often it is.
    let mut named: BTreeMap<BTreeMap<&Str, &Option<Str>>, usize> = BTreeMap::new();
    let mut wanted = Vec::new();
    for entry in &request.entries {
        let parts: BTreeMap<_, _> =
            entry.entity.iter().map(|part| (&part.entity_type, &part.entity_name)).collect();
        let count = named.entry(parts.clone()).or_default();
        *count += 1;
        if *count == 1 {
            wanted.push((parts, &entry.ops));
        }
    }
    let mut entries = Vec::with_capacity(wanted.len());
    for (parts, ops) in wanted {
        let checked = match named[&parts] {
            1 => entity_of(&parts).and_then(|entity| Ok((entity, changes_of(ops)?))),
            _ => invalid("The entity is named twice."),
        };
        let outcome = match checked {
            Ok(_) if request.validate_only => Ok(()),
            Ok((entity, changes)) => apply(control_plane, entity, changes).await,
            Err(refusal) => Err(refusal),
        };
        let (error_code, error_message) = match outcome {
            Ok(()) => (ErrorCode::None, None),
            Err((code, text)) => (code, Some(text.into())),
        };
        let entity = parts.into_iter().map(|(kind, name)| alter_client_quotas::EntityData {
            entity_type: kind.clone(),
            entity_name: name.clone(),
        });
        entries.push(EntryResult { error_code, error_message, entity: entity.collect() });
        runtime::yield_if_needed().await;
    }
    AlterClientQuotasResponse { entries, ..AlterClientQuotasResponse::default() }
}

async fn apply(
    control_plane: &ControlPlane,
    entity: QuotaEntity,
    changes: Changes,
) -> Result<(), Refusal> {
    let request = ControlRequest::AlterQuotas { entity, changes };
    match control_plane.shard.control(request).await {
        ControlReply::AlterQuotas(outcome) => {
            outcome.map_err(|error| (code_of(&error), error.to_string()))
        }
        _ => Err((ErrorCode::NotController, "The broker is stopping.".to_string())),
    }
}

fn entity_of(parts: &BTreeMap<&Str, &Option<Str>>) -> Result<QuotaEntity, Refusal> {
    if parts.is_empty() {
        return invalid("Invalid empty client quota entity");
    }
    let mut entity = QuotaEntity { user: None, client: None };
    for (kind, name) in parts {
        let name = match name {
            None => QuotaName::Default,
            Some(name) if name.is_empty() => return invalid(format!("Empty {kind} not supported")),
            Some(name) => QuotaName::Is(name.to_string()),
        };
        match kind.as_str() {
            USER => entity.user = Some(name),
            CLIENT => entity.client = Some(name),
            ADDRESS if parts.len() > 1 => {
                return invalid("An address cannot be combined with a user or a client id.");
            }
            ADDRESS => {
                return invalid(
                    "This broker does not limit the connections of addresses (KIP-612), so it \
                     keeps no quota for one.",
                );
            }
            other => return invalid(format!("Unhandled client quota entity type: {other}")),
        }
    }
    Ok(entity)
}

fn changes_of(ops: &[OpData]) -> Result<Changes, Refusal> {
    let mut changes = Changes::new();
    let mut keys: Vec<&Str> = ops.iter().map(|op| &op.key).collect();
    keys.sort_unstable();
    if keys.windows(2).any(|two| two[0] == two[1]) {
        return invalid("A quota is named twice.");
    }
    for op in ops {
        match QuotaKind::from_name(&op.key) {
            Some(kind) if op.remove => changes.push((kind, None)),
            Some(kind) => changes.push((kind, Some(check_value(kind, op.value)?.to_bits()))),
            // What was never set can be removed.
            None if op.remove => {}
            None => return invalid(format!("Invalid configuration key {}", op.key)),
        }
    }
    Ok(changes)
}

fn check_value(kind: QuotaKind, value: f64) -> Result<f64, Refusal> {
    let key = kind.name();
    if value.is_nan() {
        return invalid(format!("Quota {key} must be a number"));
    }
    if value <= 0.0 {
        return invalid(format!("Quota {key} must be greater than 0"));
    }
    if matches!(kind, QuotaKind::ProduceBytes | QuotaKind::FetchBytes) {
        if value > i64::MAX as f64 {
            return invalid(format!("The value for {key} is too large."));
        }
        // As near to a whole number as Kafka asks for.
        if (value - value.round()).abs() > 1e-6 {
            return invalid(format!("{key} cannot be a fractional value."));
        }
    }
    Ok(value)
}

// ---------------------------------------------------------------- finding

/// What a filter says of one part of an entity.
enum Wanted {
    Is(String),
    Default,
    Any,
}

impl Wanted {
    fn matches(&self, name: &QuotaName) -> bool {
        match (self, name) {
            (Wanted::Any, _) | (Wanted::Default, QuotaName::Default) => true,
            (Wanted::Is(wanted), QuotaName::Is(name)) => wanted == name,
            _ => false,
        }
    }
}

#[derive(Default)]
struct Filter {
    user: Option<Wanted>,
    client: Option<Wanted>,
    has_address: bool,
}

pub fn describe(
    control_plane: &ControlPlane,
    request: &DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    let filter = match filter_of(&request.components) {
        Ok(filter) => filter,
        Err((error_code, text)) => {
            return DescribeClientQuotasResponse {
                error_code,
                error_message: Some(text.into()),
                ..DescribeClientQuotasResponse::default()
            };
        }
    };
    let is_found = |entity: &QuotaEntity| {
        let part = |wanted: &Option<Wanted>, name: &Option<QuotaName>| match (wanted, name) {
            (None, None) => true,
            (None, Some(_)) => !request.strict,
            (Some(_), None) => false,
            (Some(wanted), Some(name)) => wanted.matches(name),
        };
        !filter.has_address
            && part(&filter.user, &entity.user)
            && part(&filter.client, &entity.client)
    };
    let image = control_plane.shard.image();
    let found = image.quotas.entities().filter(|(entity, _)| is_found(entity));
    DescribeClientQuotasResponse {
        entries: Some(found.map(|(entity, values)| entry_of(entity, values)).collect()),
        ..DescribeClientQuotasResponse::default()
    }
}

fn entry_of(entity: &QuotaEntity, values: &QuotaValues) -> describe_client_quotas::EntryData {
    let part = |kind: &'static str, name: &Option<QuotaName>| {
        let name = name.as_ref()?;
        Some(describe_client_quotas::EntityData {
            entity_type: Str::from_static(kind),
            entity_name: match name {
                QuotaName::Default => None,
                QuotaName::Is(name) => Some(name.as_str().into()),
            },
        })
    };
    let parts = [part(USER, &entity.user), part(CLIENT, &entity.client)];
    let values = values.iter().map(|(kind, value)| {
        let key = Str::from_static(kind.name());
        ValueData { key, value }
    });
    describe_client_quotas::EntryData {
        entity: parts.into_iter().flatten().collect(),
        values: values.collect(),
    }
}

fn filter_of(components: &[ComponentData]) -> Result<Filter, Refusal> {
    let mut filter = Filter::default();
    let (mut has_user, mut has_client) = (false, false);
    for component in components {
        let kind = component.entity_type.as_str();
        let wanted = wanted_of(component)?;
        let is_twice = match kind {
            USER => std::mem::replace(&mut has_user, true),
            CLIENT => std::mem::replace(&mut has_client, true),
            ADDRESS => std::mem::replace(&mut filter.has_address, true),
            "" => return invalid("Invalid empty entity type."),
            other => {
                let text = format!("Unsupported entity type {other}");
                return Err((ErrorCode::UnsupportedVersion, text));
            }
        };
        if is_twice {
            return invalid(format!(
                "Entity type {kind} cannot appear more than once in a filter."
            ));
        }
        match kind {
            USER => filter.user = Some(wanted),
            CLIENT => filter.client = Some(wanted),
            _ => {}
        }
    }
    if filter.has_address && (has_user || has_client) {
        return invalid("An address cannot be combined with a user or a client id.");
    }
    Ok(filter)
}

fn wanted_of(component: &ComponentData) -> Result<Wanted, Refusal> {
    match (component.match_type, &component.matched) {
        (0, Some(name)) => Ok(Wanted::Is(name.to_string())),
        (0, None) => invalid("An exact match needs a name."),
        (1, None) => Ok(Wanted::Default),
        (2, None) => Ok(Wanted::Any),
        (1 | 2, Some(_)) => invalid("A match of the default or of any takes no name."),
        (other, _) => invalid(format!("Unknown match type {other}")),
    }
}
