//! The group coordinators of a core as its shard sees them (`control_plane::groups`): a request about a group
//! crosses to the core that owns the group as the client sent it, and its answer comes back as bytes.

use bytes::Bytes;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

/// A request, header and body as on the wire without the length, and where it came from.
pub struct GroupFrame {
    pub frame: Bytes,
    pub peer: SocketAddr,
    /// The address that the client reached.
    pub local: SocketAddr,
}

/// An answer to come: a response frame without its length; `None` when there is none.
pub type GroupAnswer = Pin<Box<dyn Future<Output = Option<Bytes>>>>;

pub trait Coordinators {
    /// Answers for the groups that this core owns.
    fn answer(self: Rc<Self>, asked: GroupFrame) -> GroupAnswer;

    /// The shard has taken up new facts.
    fn installed(self: Rc<Self>);
}
