//! A group, of whichever kind. Pure, on the group's core.

use super::turn::{Timer, Turn};
use crate::types::Timestamp;
use crate::wire::{ErrorCode, Str};

/// Who commits offsets.
#[derive(Clone, Copy, Debug)]
pub struct OffsetCommitter<'a> {
    pub member_id: &'a Str,
    pub instance_id: Option<&'a Str>,
    /// -1 of somebody who is no member.
    pub generation_or_epoch: i32,
    pub version: i16,
}

/// Since when the time of a group's offsets runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiration {
    Never,
    SinceCommit,
    Since(Timestamp),
}

/// A group.
#[derive(Debug)]
pub enum Group {
    Simple,
}

impl Group {
    /// One that nobody has joined yet.
    pub fn new(_name: Str, _wall: Timestamp) -> Group {
        Group::Simple
    }

    pub fn type_name(&self) -> &'static str {
        "classic"
    }

    pub fn state_name(&self) -> &'static str {
        "Empty"
    }

    pub fn protocol_type(&self) -> Str {
        Str::default()
    }

    /// It has no members.
    pub fn is_empty(&self) -> bool {
        true
    }

    pub fn is_subscribed_to(&self, _topic: &Str) -> bool {
        false
    }

    pub fn offset_expiration(&self) -> Expiration {
        Expiration::SinceCommit
    }

    /// Whether the group takes offsets from a client; a commit counts as a heartbeat.
    pub fn take_offset_commit(
        &mut self,
        committer: &OffsetCommitter<'_>,
        _turn: &mut Turn,
    ) -> Result<(), ErrorCode> {
        if committer.generation_or_epoch < 0 { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    pub fn check_offset_fetch(
        &self,
        _member_id: Option<&Str>,
        _epoch: i32,
    ) -> Result<(), ErrorCode> {
        Ok(())
    }

    pub fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        Ok(())
    }

    pub fn check_delete(&self) -> Result<(), ErrorCode> {
        Ok(())
    }

    /// The group is being removed.
    pub fn end(&mut self, _turn: &mut Turn) {}

    /// After a start: members are waited for again.
    pub fn start_timers(&mut self, _turn: &mut Turn) {}

    pub fn on_timer(&mut self, _timer: &Timer, _turn: &mut Turn) {}
}
