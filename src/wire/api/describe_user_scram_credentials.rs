//! DescribeUserScramCredentials (key 50). KIP-554.

use crate::wire::message::prelude::*;

messages! {
    DescribeUserScramCredentialsRequest (0..=0, flexible 0..) {
        users: Option<Vec<UserName>> => 0..;
    }

    UserName {
        name: Str => 0..;
    }

    DescribeUserScramCredentialsResponse (0..=0, flexible 0..) {
        throttle_time_ms: i32 => 0..;
        error_code: ErrorCode => 0..;
        error_message: Option<Str> => 0..;
        results: Vec<DescribeUserScramCredentialsResult> => 0..;
    }

    DescribeUserScramCredentialsResult {
        user: Str => 0..;
        error_code: ErrorCode => 0..;
        error_message: Option<Str> => 0..;
        credential_infos: Vec<CredentialInfo> => 0..;
    }

    CredentialInfo {
        mechanism: i8 => 0..;
        iterations: i32 => 0..;
    }
}
