//! ExpireDelegationToken (key 40). KIP-48.

use crate::wire::message::prelude::*;

messages! {
    ExpireDelegationTokenRequest (1..=2, flexible 2..) {
        hmac: Bytes => 0..;
        expiry_time_period_ms: i64 => 0..;
    }

    ExpireDelegationTokenResponse (1..=2, flexible 2..) {
        error_code: ErrorCode => 0..;
        expiry_timestamp_ms: i64 => 0..;
        throttle_time_ms: i32 => 0..;
    }
}
