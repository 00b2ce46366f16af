//! DescribeConfigs (key 32).
//! v1 synonyms and sources instead of `is_default` (KIP-226); v3 types and documentation (KIP-569).
//! Kafka 4 serves it from v1; v0 is for old clients.

use crate::wire::message::prelude::*;

messages! {
    DescribeConfigsRequest (0..=4, flexible 4..) {
        resources: Vec<DescribeConfigsResource> => 0..;
        include_synonyms: bool => 1..;
        include_documentation: bool => 3..;
    }

    DescribeConfigsResource {
        resource_type: i8 => 0..;
        resource_name: Str => 0..;
        /// Null asks for all.
        configuration_keys: Option<Vec<Str>> => 0..;
    }

    DescribeConfigsResponse (0..=4, flexible 4..) {
        throttle_time_ms: i32 => 0..;
        results: Vec<DescribeConfigsResult> => 0..;
    }

    DescribeConfigsResult {
        error_code: ErrorCode => 0..;
        error_message: Option<Str> => 0..;
        resource_type: i8 => 0..;
        resource_name: Str => 0..;
        configs: Vec<DescribeConfigsResourceResult> => 0..;
    }

    DescribeConfigsResourceResult {
        name: Str => 0..;
        value: Option<Str> => 0..;
        read_only: bool => 0..;
        is_default: bool => 0..=0;
        config_source: i8 => 1.., default -1;
        is_sensitive: bool => 0..;
        synonyms: Vec<DescribeConfigsSynonym> => 1..;
        config_type: i8 => 3..;
        documentation: Option<Str> => 3..;
    }

    DescribeConfigsSynonym {
        name: Str => 1..;
        value: Option<Str> => 1..;
        source: i8 => 1..;
    }
}
