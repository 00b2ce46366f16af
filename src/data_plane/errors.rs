//! The one mapping from what can go wrong in a partition to Kafka's error codes.

use crate::log::producers::SequenceError;
use crate::log::{AppendError, ReadError};
use crate::shard::request::PartitionError;
use crate::types::Offset;
use crate::wire::ErrorCode;
use crate::wire::batch::BatchError;

/// What a client is told.
pub fn code_of(error: &PartitionError) -> ErrorCode {
    match error {
        PartitionError::NotHere | PartitionError::Stopping => ErrorCode::NotLeaderOrFollower,
        PartitionError::Append { error, .. } => code_of_append(error),
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
        AppendError::Keyless { .. } => ErrorCode::InvalidRecord,
        AppendError::Timestamp(_) => ErrorCode::InvalidTimestamp,
        AppendError::Offline(_) => ErrorCode::KafkaStorageError,
    }
}

/// As Apache Kafka 4.3 answers (tests/clients/oracle-kafka-4.3.json, "produce bad batches").
fn code_of_batch(error: BatchError) -> ErrorCode {
    match error {
        BatchError::Checksum { .. } | BatchError::Length(_) => ErrorCode::CorruptMessage,
        BatchError::Magic(magic) if magic != 0 && magic != 1 => ErrorCode::CorruptMessage,
        // As Kafka's transaction coordinator says of a transactional id that it does not know.
        BatchError::Transactional { .. } => ErrorCode::InvalidProducerIdMapping,
        _ => ErrorCode::InvalidRecord,
    }
}

/// The log's start as a refused produce tells it: only where Kafka had the log in hand already.
pub fn log_start_of(error: &PartitionError) -> Offset {
    match error {
        PartitionError::Append { error: AppendError::Batch(batch), .. }
            if matches!(batch, BatchError::Magic(_) | BatchError::Truncated { .. })
                || code_of_batch(*batch) == ErrorCode::CorruptMessage =>
        {
            Offset(-1)
        }
        PartitionError::Append { error: AppendError::TooLarge { .. }, .. } => Offset(-1),
        PartitionError::Append { error: AppendError::Offline(_), .. } => Offset(-1),
        PartitionError::Append { log_start, .. } => *log_start,
        _ => Offset(-1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_a_transaction_is_of_none_that_is_known() {
        let error = AppendError::Batch(BatchError::Transactional { producer_id: 7 });
        let error = PartitionError::Append { error, log_start: Offset::ZERO };
        assert_eq!(code_of(&error), ErrorCode::InvalidProducerIdMapping);
    }
}
