//! ApiVersions: what this broker serves.

use super::administration::features;
use crate::wire::api::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::{ApiKey, Encoder, ErrorCode, SupportedApi, encode_response, supported_apis};

/// Answers a request of a version that is served.
pub fn handle(request: &ApiVersionsRequest, version: i16) -> ApiVersionsResponse {
    // KIP-511: from version 3 on, clients say who they are.
    let named = is_software_text(&request.client_software_name)
        && is_software_text(&request.client_software_version);
    if version >= 3 && !named {
        return ApiVersionsResponse {
            error_code: ErrorCode::InvalidRequest,
            ..ApiVersionsResponse::default()
        };
    }
    let api_keys = supported_apis().iter().map(range_of).collect();
    ApiVersionsResponse {
        api_keys,
        supported_features: features::supported(),
        finalized_features_epoch: features::EPOCH,
        finalized_features: features::finalized(),
        ..ApiVersionsResponse::default()
    }
}

/// KIP-511: a version that is not served is answered with version 0, which says which are.
pub fn refuse(correlation_id: i32) -> Encoder {
    let own = ApiKey::ApiVersions.supported().expect("this API is served");
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion,
        api_keys: vec![range_of(own)],
        ..ApiVersionsResponse::default()
    };
    encode_response::<ApiVersionsRequest>(&response, 0, correlation_id)
}

fn range_of(api: &SupportedApi) -> ApiVersion {
    // KIP-896: librdkafka up to 2.8 takes a broker without Produce 0 for one that cannot compress, so
    // Produce is advertised from 0, as Kafka does, and served from 3.
    let min_version = if api.key == ApiKey::Produce { 0 } else { api.version_min };
    ApiVersion { api_key: api.key.to_i16(), min_version, max_version: api.version_max }
}

/// Letters and digits, with dots and dashes within.
fn is_software_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let is_within = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    is_end(bytes.first()) && is_end(bytes.last()) && bytes.iter().all(is_within)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str) -> ErrorCode {
        let request = ApiVersionsRequest {
            client_software_name: name.into(),
            client_software_version: "1.0".into(),
            ..ApiVersionsRequest::default()
        };
        handle(&request, 3).error_code
    }

    #[test]
    fn clients_must_say_who_they_are_as_in_kafka() {
        for (name, code) in [
            ("ok-name.1", ErrorCode::None),
            ("", ErrorCode::InvalidRequest),
            ("-x", ErrorCode::InvalidRequest),
            ("with space", ErrorCode::InvalidRequest),
            ("sl/ash", ErrorCode::InvalidRequest),
        ] {
            assert_eq!(asked(name), code, "{name}");
        }
        assert!(handle(&ApiVersionsRequest::default(), 2).error_code.is_none());
    }

    #[test]
    fn produce_is_advertised_from_version_0() {
        let response = handle(&ApiVersionsRequest::default(), 0);
        let produce = response.api_keys.iter().find(|api| api.api_key == 0).unwrap();
        assert_eq!(produce.min_version, 0);
        assert_eq!(response.api_keys.len(), supported_apis().len());
    }
}
