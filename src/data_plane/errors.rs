//! The one mapping from what can go wrong in a partition to Kafka's error codes.

use crate::log::producers::SequenceError;
use crate::log::{AppendError, ReadError};
use crate::shard::request::PartitionError;
use crate::wire::ErrorCode;
use crate::wire::batch::BatchError;

/// What a client is told.
pub fn code_of(error: &PartitionError) -> ErrorCode {
    match error {
        PartitionError::NotHere | PartitionError::Stopping => ErrorCode::NotLeaderOrFollower,
        PartitionError::Append(error) => code_of_append(error),
        PartitionError::Read(ReadError::OutOfRange { .. }) => ErrorCode::OffsetOutOfRange,
        PartitionError::Read(ReadError::Offline(_)) | PartitionError::Fault(_) => {
            ErrorCode::KafkaStorageError
        }
    }
}

fn code_of_append(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Batch(error) => code_of_batch(*error),
        AppendError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        AppendError::Sequence(SequenceError::EpochFenced { .. }) => ErrorCode::InvalidProducerEpoch,
        AppendError::Sequence(SequenceError::OutOfOrder { .. }) => {
            ErrorCode::OutOfOrderSequenceNumber
        }
        AppendError::Timestamp(_) => ErrorCode::InvalidTimestamp,
        AppendError::Offline(_) => ErrorCode::KafkaStorageError,
    }
}

/// As Apache Kafka 4.3 answers (tests/clients/oracle-kafka-4.3.json, "produce bad batches").
fn code_of_batch(error: BatchError) -> ErrorCode {
    match error {
        BatchError::Checksum { .. } | BatchError::Length(_) => ErrorCode::CorruptMessage,
        BatchError::Magic(magic) if magic != 0 && magic != 1 => ErrorCode::CorruptMessage,
        _ => ErrorCode::InvalidRecord,
    }
}
