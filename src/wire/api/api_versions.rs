//! ApiVersions (key 18).
//! v3 the client's name and version (KIP-511), and features (KIP-584); v4 features whose least
//! version is 0; v5 whom the client believes it has reached (KIP-1242), which is not advertised
//! because nothing checks it yet. The response's header is always version 0, so that a client of any
//! age can read the refusal (KIP-511).

use crate::wire::message::prelude::*;

messages! {
    ApiVersionsRequest (0..=5, flexible 3..) {
        client_software_name: Str => 3..;
        client_software_version: Str => 3..;
        cluster_id: Option<Str> => 5..;
        node_id: i32 => 5.., default -1;
    }

    ApiVersionsResponse (0..=5, flexible 3..) {
        error_code: ErrorCode => 0..;
        api_keys: Vec<ApiVersion> => 0..;
        throttle_time_ms: i32 => 1..;
        supported_features: Vec<SupportedFeatureKey> => 3.., tag 0;
        finalized_features_epoch: i64 => 3.., default -1, tag 1;
        finalized_features: Vec<FinalizedFeatureKey> => 3.., tag 2;
        zk_migration_ready: bool => 3.., tag 3;
    }

    ApiVersion {
        /// A plain number: a peer may have keys that are not known here.
        api_key: i16 => 0..;
        min_version: i16 => 0..;
        max_version: i16 => 0..;
    }

    SupportedFeatureKey {
        name: Str => 3..;
        min_version: i16 => 3..;
        max_version: i16 => 3..;
    }

    FinalizedFeatureKey {
        name: Str => 3..;
        max_version_level: i16 => 3..;
        min_version_level: i16 => 3..;
    }
}
