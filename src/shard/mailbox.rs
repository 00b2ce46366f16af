//! The only way from one core to another: messages by value, gathered per target while a turn of the
//! loop lasts and sent as one batch. `grep mailbox` finds every hop.
//!
//! Lives on each shard. Bounded: a full queue makes the sender wait (`outbox_has_room`), so its
//! connections stop reading; nothing is dropped.

use super::Shard;
use super::id_map::IdMap;
use super::request::{ShardReply, ShardRequest};
use crate::limits::{MAILBOX_BATCHES_MAX, MAILBOX_MESSAGES_MAX};
use crate::log::ShardLog;
use crate::runtime::{self, MeshPeer, MeshReceiver, MeshSender, Wakers};
use crate::types::ShardId;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A request with the number that its answer will carry, or such an answer.
pub enum Message {
    Request(u64, ShardRequest),
    Reply(u64, ShardReply),
}

/// What travels: all that gathered for one target.
pub type Batch = Vec<Message>;

/// The queues between `shards` shards, one end for each, to be moved to its thread.
pub fn ends(shards: usize) -> Vec<MeshPeer<Batch>> {
    runtime::mesh(shards, MAILBOX_BATCHES_MAX)
}

/// Messages on their way to one shard.
#[derive(Default)]
struct Outbox {
    messages: RefCell<Batch>,
    /// A batch is on its way into the queue.
    sending: Cell<bool>,
    sender_idle: RefCell<Option<Waker>>,
    closed: Cell<bool>,
}

#[derive(Default)]
struct CallSlot {
    reply: Cell<Option<ShardReply>>,
    waker: RefCell<Option<Waker>>,
    held: Cell<Option<Held>>,
}

/// Bytes of a client that another shard was handed: until it answers they count as pending here, where the
/// connection that they came by reads on or waits, whether or not somebody still waits for the answer.
struct Held {
    log: Rc<ShardLog>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.log.remove_pending(self.bytes);
    }
}

/// An answer to come. Dropping it forgets the answer, not the request.
pub struct Call {
    slot: Rc<CallSlot>,
}

impl Future for Call {
    type Output = ShardReply;
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ShardReply> {
        if let Some(reply) = self.slot.reply.take() {
            return Poll::Ready(reply);
        }
        *self.slot.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

/// One shard's side of all its queues.
pub struct Mailbox {
    outboxes: Vec<Outbox>,
    /// Outboxes in which messages have backed up: asked for each request of a client, so they are counted.
    backed_up: Cell<usize>,
    calls: RefCell<IdMap<u64, Rc<CallSlot>>>,
    next_call: Cell<u64>,
    waiting_for_room: Wakers,
}

impl Mailbox {
    pub fn new(shards: usize) -> Mailbox {
        Mailbox {
            outboxes: (0..shards).map(|_| Outbox::default()).collect(),
            backed_up: Cell::new(0),
            calls: RefCell::default(),
            next_call: Cell::new(0),
            waiting_for_room: Wakers::default(),
        }
    }

    /// As `call`, with so many bytes that count as pending in this shard's log until the answer is here.
    pub fn call_holding(
        &self,
        target: ShardId,
        request: ShardRequest,
        log: &Rc<ShardLog>,
        bytes: usize,
    ) -> Call {
        let call = self.call(target, request);
        if !self.outboxes[target.index()].closed.get() {
            log.add_pending(bytes);
            call.slot.held.set(Some(Held { log: log.clone(), bytes }));
        }
        call
    }

    /// Sends a request to another shard; its order among others to that shard is kept.
    pub fn call(&self, target: ShardId, request: ShardRequest) -> Call {
        let slot = Rc::new(CallSlot::default());
        let outbox = &self.outboxes[target.index()];
        if outbox.closed.get() {
            slot.reply.set(Some(ShardReply::Gone));
            return Call { slot };
        }
        let number = self.next_call.get();
        self.next_call.set(number + 1);
        self.calls.borrow_mut().insert(number, slot.clone());
        self.push(target.index(), Message::Request(number, request));
        Call { slot }
    }

    fn push(&self, target: usize, message: Message) {
        let outbox = &self.outboxes[target];
        let mut messages = outbox.messages.borrow_mut();
        messages.push(message);
        if messages.len() == MAILBOX_MESSAGES_MAX {
            self.backed_up.set(self.backed_up.get() + 1);
        }
        drop(messages);
        let idle = outbox.sender_idle.borrow_mut().take();
        if let Some(waker) = idle {
            waker.wake();
        }
    }

    /// All that has gathered for a shard, once there is some.
    async fn next_batch(&self, target: usize) -> Batch {
        let outbox = &self.outboxes[target];
        poll_fn(|context| {
            let batch = outbox.messages.take();
            if !batch.is_empty() {
                if batch.len() >= MAILBOX_MESSAGES_MAX {
                    self.backed_up.set(self.backed_up.get() - 1);
                }
                outbox.sending.set(true);
                return Poll::Ready(batch);
            }
            *outbox.sender_idle.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn complete(&self, number: u64, reply: ShardReply) {
        let slot = self.calls.borrow_mut().remove(&number);
        if let Some(slot) = slot {
            slot.reply.set(Some(reply));
            drop(slot.held.take());
            let waker = slot.waker.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Messages that wait to leave.
    pub fn backlog(&self) -> usize {
        self.outboxes.iter().map(|outbox| outbox.messages.borrow().len()).sum()
    }

    /// Requests to other shards that wait for their answers.
    pub fn calls_waiting(&self) -> usize {
        self.calls.borrow().len()
    }

    /// Messages to this shard have not backed up.
    pub fn has_room_for(&self, target: ShardId) -> bool {
        self.outboxes[target.index()].messages.borrow().len() < MAILBOX_MESSAGES_MAX
    }

    /// Waits until no target's messages have backed up: what a connection does before it reads on.
    pub async fn outbox_has_room(&self) {
        poll_fn(|context| {
            if self.backed_up.get() == 0 {
                return Poll::Ready(());
            }
            self.waiting_for_room.register(context);
            Poll::Pending
        })
        .await;
    }

    /// Waits until all messages have left: before this shard ends.
    pub async fn flushed(&self) {
        poll_fn(|context| {
            let waits = |outbox: &Outbox| {
                !outbox.closed.get()
                    && (outbox.sending.get() || !outbox.messages.borrow().is_empty())
            };
            if !self.outboxes.iter().any(waits) {
                return Poll::Ready(());
            }
            self.waiting_for_room.register(context);
            Poll::Pending
        })
        .await;
    }

    /// All calls to shards that are gone end with `Gone`.
    fn close(&self, target: usize) {
        self.outboxes[target].closed.set(true);
        let calls: Vec<_> = self.calls.borrow().keys().copied().collect();
        for number in calls {
            self.complete(number, ShardReply::Gone);
        }
    }
}

/// Connects this shard's mailbox to the others and starts its tasks: one sender and one receiver for
/// each other shard, for life.
pub async fn connect(shard: &Rc<Shard>, peer: MeshPeer<Batch>) {
    let (senders, receivers) = peer.join().await;
    for (target, sender) in senders.into_iter().enumerate() {
        if let Some(sender) = sender {
            drop(runtime::spawn(send_to(shard.clone(), target, sender)));
        }
    }
    for (source, receiver) in receivers.into_iter().enumerate() {
        if let Some(receiver) = receiver {
            drop(runtime::spawn(receive_from(shard.clone(), source, receiver)));
        }
    }
}

async fn send_to(shard: Rc<Shard>, target: usize, sender: MeshSender<Batch>) {
    loop {
        let batch = shard.mailbox.next_batch(target).await;
        let sent = sender.send(batch).await;
        shard.mailbox.outboxes[target].sending.set(false);
        shard.mailbox.waiting_for_room.wake_all();
        if sent.is_err() {
            shard.mailbox.close(target);
            return;
        }
    }
}

/// Serves another shard's requests: starts each in the order of arrival, answers when it is done.
async fn receive_from(shard: Rc<Shard>, source: usize, receiver: MeshReceiver<Batch>) {
    let mut running = FuturesUnordered::new();
    let mut receive = Box::pin(receiver.recv());
    loop {
        let batch = poll_fn(|context| {
            while let Poll::Ready(Some((number, reply))) = running.poll_next_unpin(context) {
                shard.mailbox.push(source, Message::Reply(number, reply));
            }
            receive.as_mut().poll(context)
        })
        .await;
        let Some(batch) = batch else {
            shard.mailbox.close(source);
            return;
        };
        receive.set(receiver.recv());
        for message in batch {
            match message {
                Message::Reply(number, reply) => shard.mailbox.complete(number, reply),
                Message::Request(number, request) => {
                    let handling = shard.serve(request);
                    running.push(async move { (number, handling.await) });
                }
            }
        }
    }
}
