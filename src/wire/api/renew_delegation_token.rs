//! RenewDelegationToken (key 39). KIP-48.

use crate::wire::message::prelude::*;

messages! {
    RenewDelegationTokenRequest (1..=2, flexible 2..) {
        hmac: Bytes => 0..;
        renew_period_ms: i64 => 0..;
    }

    RenewDelegationTokenResponse (1..=2, flexible 2..) {
        error_code: ErrorCode => 0..;
        expiry_timestamp_ms: i64 => 0..;
        throttle_time_ms: i32 => 0..;
    }
}
