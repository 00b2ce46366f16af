//! The group coordinators of a core as its shard sees them (`control_plane::groups`): a request about a group
//! crosses to the core that owns the group as the client sent it, and its answer comes back as bytes.

use crate::probe::Budget;
use crate::types::Offset;
use bytes::Bytes;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

/// A request, header and body as on the wire without the length, and where it came from.
pub struct GroupFrame {
    pub frame: Bytes,
    pub peer: SocketAddr,
    /// The address that the client reached.
    pub local: SocketAddr,
}

/// An answer to come: a response frame without its length; `None` when there is none.
pub type GroupAnswer = Pin<Box<dyn Future<Output = Option<Bytes>>>>;

/// The groups of one core, at one moment.
#[derive(Clone, Debug, Default)]
pub struct GroupsReading {
    /// Coordinators, one for each partition of `__consumer_offsets`, by what they do.
    pub coordinators: Vec<(&'static str, usize)>,
    /// Groups, by protocol and state.
    pub counts: Vec<(&'static str, &'static str, usize)>,
    /// Members of all groups, by protocol.
    pub members: Vec<(&'static str, usize)>,
    pub memory: Budget,
    /// As many as are shown each for itself.
    pub groups: Vec<GroupReading>,
    /// Groups that are not.
    pub left_out: usize,
    /// Offsets of the groups that are shown, which are not.
    pub offsets_left_out: usize,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupReading {
    pub name: Arc<str>,
    pub members: usize,
    /// Of all its partitions; none when no partition's end is known.
    pub lag: Option<Lag>,
    /// As many as were asked for.
    pub offsets: Vec<OffsetReading>,
}

/// Records that a group has yet to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    pub sum: u64,
    /// Of the partition that has the most.
    pub max: u64,
}

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetReading {
    pub topic: Arc<str>,
    pub index: i32,
    pub committed: Offset,
    /// None when the partition's end is not known: it is offline, or not opened yet.
    pub lag: Option<u64>,
}

/// A reading to come.
pub type GroupsRead = Pin<Box<dyn Future<Output = GroupsReading>>>;

pub trait Coordinators {
    /// Answers for the groups that this core owns.
    fn answer(self: Rc<Self>, asked: GroupFrame) -> GroupAnswer;

    /// The shard has taken up new facts.
    fn installed(self: Rc<Self>);

    /// Reads what the admin port shows, with so many offsets, each for itself, at most.
    fn read(self: Rc<Self>, offsets_max: usize) -> GroupsRead;
}
