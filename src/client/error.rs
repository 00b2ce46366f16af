//! What can go wrong between this client and a cluster.

use crate::wire::{ApiKey, ErrorCode};
use std::time::Duration;

/// Cheap to clone: one fault may end many requests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error("cannot connect to {address}: {reason}")]
    Connect { address: String, reason: String },
    #[error("the connection to {address} broke: {reason}")]
    Disconnected { address: String, reason: String },
    #[error("{address} did not answer {api} within {} ms", limit.as_millis())]
    Timeout { address: String, api: ApiKey, limit: Duration },
    #[error("{address} sent what is no answer to {api}: {reason}")]
    Protocol { address: String, api: ApiKey, reason: String },
    #[error("{address} speaks no version of {api} that this client knows")]
    Unsupported { address: String, api: ApiKey },
    /// The broker refused; `what` is what was asked for.
    #[error("{what}: {code}{}", detail(message))]
    Refused { what: String, code: ErrorCode, message: Option<String> },
    #[error("{what} has no leader")]
    NoLeader { what: String },
    #[error("no answer for {what}")]
    NotAnswered { what: String },
    #[error("{what} took longer than {} ms{}", limit.as_millis(), last(cause))]
    Expired { what: String, limit: Duration, cause: Option<Box<ClientError>> },
    /// What this client was asked to do cannot be done.
    #[error("{0}")]
    Invalid(String),
}

fn detail(message: &Option<String>) -> String {
    message.as_ref().map_or(String::new(), |message| format!(" ({message})"))
}

fn last(cause: &Option<Box<ClientError>>) -> String {
    cause.as_ref().map_or(String::new(), |cause| format!("; at last: {cause}"))
}

impl ClientError {
    pub fn refused(what: impl Into<String>, code: ErrorCode) -> ClientError {
        ClientError::Refused { what: what.into(), code, message: None }
    }

    /// An error unless the code says that all is well.
    pub fn check(
        code: ErrorCode,
        message: Option<&str>,
        what: impl FnOnce() -> String,
    ) -> Result<(), ClientError> {
        if code.is_none() {
            return Ok(());
        }
        let message = message.filter(|text| !text.is_empty()).map(str::to_string);
        Err(ClientError::Refused { what: what(), code, message })
    }

    /// Whether the same request may succeed later, perhaps elsewhere.
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Connect { .. }
            | ClientError::Disconnected { .. }
            | ClientError::Timeout { .. }
            | ClientError::NoLeader { .. } => true,
            ClientError::Refused { code, .. } => code.is_retriable(),
            ClientError::Protocol { .. }
            | ClientError::Unsupported { .. }
            | ClientError::NotAnswered { .. }
            | ClientError::Expired { .. }
            | ClientError::Invalid(_) => false,
        }
    }

    /// Whether the broker may have done what was asked, though no answer said so.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            ClientError::Disconnected { .. }
            | ClientError::Timeout { .. }
            | ClientError::Protocol { .. }
            | ClientError::NotAnswered { .. } => true,
            ClientError::Refused { code, .. } => matches!(
                code,
                ErrorCode::RequestTimedOut
                    | ErrorCode::NotEnoughReplicasAfterAppend
                    | ErrorCode::NetworkException
                    | ErrorCode::KafkaStorageError
                    | ErrorCode::UnknownServerError
            ),
            _ => false,
        }
    }

    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}
