//! Features (KIP-584): what this broker does that clients and tools know by name and level, and UpdateFeatures.
//! Each has one level, which cannot be changed. Pure.
//!
//! A feature stands here when its behaviour is there. `metadata.version` and `kraft.version`, levels of Kafka's
//! own metadata log, do not, as there is no such log; nor do those of transactions, share and streams groups.

use crate::control_plane::ControlPlane;
use crate::wire::api::api_versions::{FinalizedFeatureKey, SupportedFeatureKey};
use crate::wire::api::update_features::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use crate::wire::{ErrorCode, Str};

/// Names, with the one level of each. (Level 0 means without it; up to version 3 of ApiVersions, clients do not
/// understand a range from there on.)
const FEATURES: &[(&str, i16)] = &[
    // The consumer protocol, KIP-848.
    ("group.version", 1),
];

/// To be raised with every change of the table: clients only look at levels that are newer than those they know.
pub const EPOCH: i64 = 1;

pub fn supported() -> Vec<SupportedFeatureKey> {
    let feature = |(name, level): &(&'static str, i16)| SupportedFeatureKey {
        name: Str::from_static(name),
        min_version: *level,
        max_version: *level,
    };
    FEATURES.iter().map(feature).collect()
}

pub fn finalized() -> Vec<FinalizedFeatureKey> {
    let feature = |(name, level): &(&'static str, i16)| FinalizedFeatureKey {
        name: Str::from_static(name),
        max_version_level: *level,
        min_version_level: *level,
    };
    FEATURES.iter().map(feature).collect()
}

/// A feature may be set to the level that it has. As by Kafka, one that is refused refuses all.
pub fn update(
    control_plane: &ControlPlane,
    request: &UpdateFeaturesRequest,
    version: i16,
) -> UpdateFeaturesResponse {
    let controller = control_plane.endpoints.controller_id();
    let refused = request.feature_updates.iter().find_map(|update| {
        let why = refusal(update, controller)?;
        let FeatureUpdateKey { feature, max_version_level, .. } = update;
        Some(format!("Invalid update version {max_version_level} for feature {feature}. {why}"))
    });
    if let Some(refused) = refused {
        let text = format!(
            "The update failed for all features since the following feature had an error: {refused}"
        );
        return UpdateFeaturesResponse {
            error_code: ErrorCode::InvalidUpdateVersion,
            error_message: Some(text.into()),
            ..UpdateFeaturesResponse::default()
        };
    }
    let result = |update: &FeatureUpdateKey| UpdatableFeatureResult {
        feature: update.feature.clone(),
        ..UpdatableFeatureResult::default()
    };
    let results = match version {
        ..=1 => request.feature_updates.iter().map(result).collect(),
        _ => Vec::new(),
    };
    UpdateFeaturesResponse { results, ..UpdateFeaturesResponse::default() }
}

/// Why a feature cannot have this level, in the order in which Kafka looks.
fn refusal(update: &FeatureUpdateKey, controller: i32) -> Option<String> {
    let FeatureUpdateKey { feature, max_version_level: wanted, upgrade_type, .. } = update;
    let level = FEATURES.iter().find(|(name, _)| feature == name).map(|(_, level)| *level);
    // An upgrade, a safe downgrade and an unsafe one.
    if !(1..=3).contains(upgrade_type) {
        return Some("The controller does not support the given upgrade type.".to_string());
    }
    match level {
        _ if *wanted < 0 => Some("A feature version cannot be less than 0.".to_string()),
        Some(level) if *wanted == level => None,
        Some(level) => {
            Some(format!("Local controller {controller} only supports versions {level}"))
        }
        None if *wanted == 0 => Some(format!("Feature {feature} not found.")),
        None => Some(format!("Local controller {controller} does not support this feature.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_has_the_level_that_it_has() {
        let update = |feature: &str, max_version_level, upgrade_type| FeatureUpdateKey {
            feature: feature.into(),
            max_version_level,
            upgrade_type,
            ..FeatureUpdateKey::default()
        };
        let (no, unknown) = ("Local controller 7 only supports versions 1", "no.such");
        for (feature, level, kind, why) in [
            ("group.version", 1, 1, None),
            ("group.version", 1, 2, None),
            ("group.version", 0, 2, Some(no)),
            ("group.version", 2, 1, Some(no)),
            ("group.version", -1, 1, Some("A feature version cannot be less than 0.")),
            (
                "group.version",
                1,
                0,
                Some("The controller does not support the given upgrade type."),
            ),
            (unknown, 1, 1, Some("Local controller 7 does not support this feature.")),
            (unknown, 0, 1, Some("Feature no.such not found.")),
            (unknown, 1, 9, Some("The controller does not support the given upgrade type.")),
        ] {
            let refused = refusal(&update(feature, level, kind), 7);
            assert_eq!(refused.as_deref(), why, "{feature} {level} {kind}");
        }
    }

    #[test]
    fn what_is_supported_is_final_and_understood_by_every_client() {
        assert_eq!(supported().len(), finalized().len());
        for (can, is) in supported().iter().zip(finalized()) {
            assert_eq!((&can.name, can.max_version), (&is.name, is.max_version_level));
            assert!(can.min_version > 0 && can.min_version <= is.min_version_level);
        }
    }
}
