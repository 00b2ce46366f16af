//! InitProducerId (key 22).
//! v3 resumes a known producer id (KIP-360); v4 PRODUCER_FENCED; v5 TRANSACTION_ABORTABLE (KIP-890);
//! v6 two-phase commit (KIP-939), which Kafka 4.3 still marks as unstable, so it is not advertised.

use crate::wire::message::prelude::*;

messages! {
    InitProducerIdRequest (0..=6, flexible 2..) {
        transactional_id: Option<Str> => 0..;
        transaction_timeout_ms: i32 => 0..;
        producer_id: i64 => 3.., default -1;
        producer_epoch: i16 => 3.., default -1;
        enable_2_pc: bool => 6..;
        keep_prepared_txn: bool => 6..;
    }

    InitProducerIdResponse (0..=6, flexible 2..) {
        throttle_time_ms: i32 => 0..;
        error_code: ErrorCode => 0..;
        producer_id: i64 => 0.., default -1;
        producer_epoch: i16 => 0..;
        ongoing_txn_producer_id: i64 => 6.., default -1;
        ongoing_txn_producer_epoch: i16 => 6.., default -1;
    }
}
