//! ListTransactions (key 66). KIP-664; v1 filters by duration (KIP-994), v2 by pattern (KIP-1152).

use crate::wire::message::prelude::*;

messages! {
    ListTransactionsRequest (0..=2, flexible 0..) {
        state_filters: Vec<Str> => 0..;
        producer_id_filters: Vec<i64> => 0..;
        duration_filter: i64 => 1.., default -1;
        transactional_id_pattern: Option<Str> => 2..;
    }

    ListTransactionsResponse (0..=2, flexible 0..) {
        throttle_time_ms: i32 => 0..;
        error_code: ErrorCode => 0..;
        unknown_state_filters: Vec<Str> => 0..;
        transaction_states: Vec<TransactionState> => 0..;
    }

    TransactionState {
        transactional_id: Str => 0..;
        producer_id: i64 => 0..;
        transaction_state: Str => 0..;
    }
}
