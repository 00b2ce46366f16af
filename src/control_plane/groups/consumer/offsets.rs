//! Who may commit and read the group's offsets.

use super::member::Holding;
use super::{ConsumerGroup, Refusal};
use crate::types::TopicId;
use crate::wire::{ErrorCode, Str};

/// The first version of OffsetCommit that a member of the consumer protocol may use.
const COMMIT_VERSION_MIN: i16 = 9;

/// What of a commit is let through.
#[derive(Debug)]
pub enum CommitCheck<'a> {
    /// All of it.
    All,
    /// Partitions that the member has had since its epoch or before (KIP-1251). One that it has not fails the
    /// whole request.
    Since { holding: &'a Holding, epoch: i32, stale: ErrorCode },
}

impl CommitCheck<'_> {
    /// # Errors
    /// STALE_MEMBER_EPOCH, or ILLEGAL_GENERATION for a member that speaks the classic protocol.
    pub fn partition(&self, topic: TopicId, index: i32) -> Result<(), ErrorCode> {
        match self {
            CommitCheck::All => Ok(()),
            CommitCheck::Since { holding, epoch, stale } => match holding.epoch_of(topic, index) {
                Some(since) if *epoch >= since => Ok(()),
                _ => Err(*stale),
            },
        }
    }
}

impl ConsumerGroup {
    /// Whether a member may commit. An epoch below 0 says that no member asks: allowed while there is none.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH or ILLEGAL_GENERATION, UNSUPPORTED_VERSION.
    pub fn validate_offset_commit(
        &self,
        member: &Str,
        epoch: i32,
        version: i16,
    ) -> Result<CommitCheck<'_>, Refusal> {
        if epoch < 0 && self.members.is_empty() {
            return Ok(CommitCheck::All);
        }
        let Some(known) = self.members.get(member) else {
            return Err(self.unknown(member));
        };
        if !known.is_classic() && version < COMMIT_VERSION_MIN {
            return Err(Refusal::new(
                ErrorCode::UnsupportedVersion,
                "OffsetCommit version 9 or above must be used by members using the consumer group protocol",
            ));
        }
        let stale = stale(known.is_classic());
        let holding = &known.holding;
        if epoch == holding.epoch {
            Ok(CommitCheck::All)
        } else if epoch > holding.epoch {
            Err(Refusal::new(
                stale,
                format!(
                    "Received member epoch {epoch} is newer than current member epoch {}.",
                    holding.epoch
                ),
            ))
        } else {
            Ok(CommitCheck::Since { holding, epoch, stale })
        }
    }

    /// Whether a member may read offsets; without a member id and epoch, anyone may.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH or ILLEGAL_GENERATION.
    pub fn validate_offset_fetch(&self, member: Option<&Str>, epoch: i32) -> Result<(), Refusal> {
        let Some(member) = member else {
            return if epoch < 0 { Ok(()) } else { Err(self.unknown(&Str::default())) };
        };
        let Some(known) = self.members.get(member) else {
            return Err(self.unknown(member));
        };
        if epoch == known.holding.epoch {
            return Ok(());
        }
        Err(Refusal::new(
            stale(known.is_classic()),
            format!(
                "The received member epoch {epoch} does not match the expected member epoch {}.",
                known.holding.epoch
            ),
        ))
    }

    fn unknown(&self, member: &Str) -> Refusal {
        Refusal::new(
            ErrorCode::UnknownMemberId,
            format!("Member {member} is not a member of group {}.", self.group),
        )
    }
}

fn stale(is_classic: bool) -> ErrorCode {
    if is_classic { ErrorCode::IllegalGeneration } else { ErrorCode::StaleMemberEpoch }
}
