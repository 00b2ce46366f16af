//! DescribeTransactions and ListTransactions (KIP-664): there are no transactions yet. Pure.

use crate::control_plane::groups::consumer::compile;
use crate::wire::api::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, TransactionState,
};
use crate::wire::api::list_transactions::{ListTransactionsRequest, ListTransactionsResponse};
use crate::wire::{ErrorCode, Str};

/// The states that a transaction may have, by Kafka's names.
const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

pub fn describe(request: DescribeTransactionsRequest) -> DescribeTransactionsResponse {
    let states = request.transactional_ids.into_iter().map(|transactional_id| TransactionState {
        error_code: match transactional_id.is_empty() {
            true => ErrorCode::InvalidRequest,
            false => ErrorCode::TransactionalIdNotFound,
        },
        transactional_id,
        ..TransactionState::default()
    });
    DescribeTransactionsResponse {
        transaction_states: states.collect(),
        ..DescribeTransactionsResponse::default()
    }
}

/// KIP-1152: a pattern is looked at although there is nothing that it could match.
pub fn list(request: ListTransactionsRequest) -> ListTransactionsResponse {
    let pattern = request.transactional_id_pattern.as_ref();
    if pattern.is_some_and(|pattern| compile(pattern).is_err()) {
        return ListTransactionsResponse {
            error_code: ErrorCode::InvalidRegularExpression,
            ..ListTransactionsResponse::default()
        };
    }
    let is_unknown = |state: &Str| !STATES.contains(&state.as_str());
    ListTransactionsResponse {
        unknown_state_filters: request.state_filters.into_iter().filter(is_unknown).collect(),
        ..ListTransactionsResponse::default()
    }
}
