//! Holding clients to their quota of partitions made and deleted (KIP-599). Lives on the connection's core.

use super::create_topics::Refusal;
use crate::shard::quota_table::QuotaKind;
use crate::shard::quotas::Meter;
use crate::wire::ErrorCode;

/// What a request that changes partitions is measured with.
#[derive(Clone, Copy)]
pub struct Mutations<'a> {
    /// None: the client has no quota.
    pub meter: Option<&'a Meter>,
    /// The version of the request knows the refusal: beyond the quota nothing more is done. Older clients are
    /// only slowed down.
    pub is_strict: bool,
}

impl Mutations<'_> {
    /// Charges for so many partitions.
    ///
    /// # Errors
    /// THROTTLING_QUOTA_EXCEEDED; then nothing is charged.
    pub fn admit(&self, partitions: usize) -> Result<(), Refusal> {
        let Some(meter) = self.meter else { return Ok(()) };
        if self.is_strict && !meter.may(QuotaKind::Mutations) {
            let text = "The throttling quota has been exceeded.".to_string();
            return Err((ErrorCode::ThrottlingQuotaExceeded, text));
        }
        meter.charge(QuotaKind::Mutations, partitions as f64);
        Ok(())
    }
}
