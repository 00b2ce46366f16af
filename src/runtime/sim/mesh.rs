//! Channels between shards: a full mesh, one bounded queue per ordered pair. In the simulation all shards
//! share one thread, and what is sent arrives a little later, in order.

use super::World;
use super::executor::sleep_until;
use crate::runtime::Instant;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// How long a message is on its way, at most.
const DELAY_NS_MAX: u64 = 20_000;

struct Queue<T> {
    /// Each with the moment at which it arrives.
    messages: VecDeque<(Instant, T)>,
    capacity: usize,
    sender_gone: bool,
    receiver_gone: bool,
    sender: Option<Waker>,
    receiver: Option<Waker>,
}

type Shared<T> = Rc<RefCell<Queue<T>>>;

/// Who has joined, and who waits for the others.
#[derive(Default)]
struct Gate {
    missing: usize,
    waiting: Vec<Waker>,
}

/// One shard's place in a mesh, before it joins.
pub struct MeshPeer<T> {
    gate: Rc<RefCell<Gate>>,
    senders: Vec<Option<MeshSender<T>>>,
    receivers: Vec<Option<MeshReceiver<T>>>,
}

/// Makes a mesh of so many shards, whose queues hold `capacity` messages each.
pub fn mesh<T: Send + 'static>(peers: usize, capacity: usize) -> Vec<MeshPeer<T>> {
    let gate = Rc::new(RefCell::new(Gate { missing: peers, waiting: Vec::new() }));
    let mut mesh: Vec<MeshPeer<T>> = (0..peers)
        .map(|_| MeshPeer {
            gate: Rc::clone(&gate),
            senders: (0..peers).map(|_| None).collect(),
            receivers: (0..peers).map(|_| None).collect(),
        })
        .collect();
    for from in 0..peers {
        for to in (0..peers).filter(|to| *to != from) {
            let queue = Rc::new(RefCell::new(Queue {
                messages: VecDeque::new(),
                capacity,
                sender_gone: false,
                receiver_gone: false,
                sender: None,
                receiver: None,
            }));
            mesh[from].senders[to] = Some(MeshSender { queue: Rc::clone(&queue) });
            mesh[to].receivers[from] = Some(MeshReceiver { queue });
        }
    }
    mesh
}

/// Both ends that a shard has, by the other shard's index; none at its own.
pub type MeshEnds<T> = (Vec<Option<MeshSender<T>>>, Vec<Option<MeshReceiver<T>>>);

impl<T: Send + 'static> MeshPeer<T> {
    /// Waits until every shard has joined.
    pub async fn join(self) -> MeshEnds<T> {
        let MeshPeer { gate, senders, receivers } = self;
        {
            let mut gate = gate.borrow_mut();
            gate.missing -= 1;
            if gate.missing == 0 {
                gate.waiting.drain(..).for_each(Waker::wake);
            }
        }
        poll_fn(|cx| {
            let mut gate = gate.borrow_mut();
            if gate.missing == 0 {
                return Poll::Ready(());
            }
            gate.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
        (senders, receivers)
    }
}

/// The end that sends to one other shard.
pub struct MeshSender<T> {
    queue: Shared<T>,
}

impl<T: Send + 'static> MeshSender<T> {
    /// Sends at once, or gives the message back: the queue is full, or nobody receives any more.
    pub fn try_send(&self, message: T) -> Result<(), T> {
        let mut queue = self.queue.borrow_mut();
        if queue.receiver_gone || queue.messages.len() >= queue.capacity {
            return Err(message);
        }
        let world = World::current();
        let delay = Duration::from_nanos(world.schedule.below(DELAY_NS_MAX));
        let earliest = queue.messages.back().map_or(Instant::default(), |(arrives, _)| *arrives);
        queue.messages.push_back((earliest.max(world.now() + delay), message));
        if let Some(receiver) = queue.receiver.take() {
            receiver.wake();
        }
        Ok(())
    }

    /// Sends as soon as there is room; gives the message back when nobody receives any more.
    pub async fn send(&self, message: T) -> Result<(), T> {
        let mut message = Some(message);
        poll_fn(|cx| {
            let unsent = match self.try_send(message.take().expect("kept until it is sent")) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(unsent) => unsent,
            };
            let mut queue = self.queue.borrow_mut();
            if queue.receiver_gone {
                return Poll::Ready(Err(unsent));
            }
            message = Some(unsent);
            queue.sender = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl<T> fmt::Debug for MeshSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MeshSender({} queued)", self.queue.borrow().messages.len())
    }
}

impl<T> Drop for MeshSender<T> {
    fn drop(&mut self) {
        let mut queue = self.queue.borrow_mut();
        queue.sender_gone = true;
        if let Some(receiver) = queue.receiver.take() {
            receiver.wake();
        }
    }
}

/// The end that receives from one other shard.
pub struct MeshReceiver<T> {
    queue: Shared<T>,
}

enum Next<T> {
    Arrived(T),
    Arrives(Instant),
    Closed,
}

impl<T: Send + 'static> MeshReceiver<T> {
    /// The next message; none when all were received and the sender is gone.
    pub async fn recv(&self) -> Option<T> {
        loop {
            let next = poll_fn(|cx| {
                let next = self.next();
                if next.is_none() {
                    self.queue.borrow_mut().receiver = Some(cx.waker().clone());
                }
                next.map_or(Poll::Pending, Poll::Ready)
            })
            .await;
            match next {
                Next::Arrived(message) => return Some(message),
                Next::Arrives(at) => sleep_until(at).await,
                Next::Closed => return None,
            }
        }
    }

    fn next(&self) -> Option<Next<T>> {
        let mut queue = self.queue.borrow_mut();
        match queue.messages.front() {
            Some((arrives, _)) if *arrives > World::current().now() => {
                Some(Next::Arrives(*arrives))
            }
            Some(_) => {
                if let Some(sender) = queue.sender.take() {
                    sender.wake();
                }
                queue.messages.pop_front().map(|(_, message)| Next::Arrived(message))
            }
            None if queue.sender_gone => Some(Next::Closed),
            None => None,
        }
    }
}

impl<T> fmt::Debug for MeshReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MeshReceiver({} queued)", self.queue.borrow().messages.len())
    }
}

impl<T> Drop for MeshReceiver<T> {
    fn drop(&mut self) {
        let mut queue = self.queue.borrow_mut();
        queue.receiver_gone = true;
        if let Some(sender) = queue.sender.take() {
            sender.wake();
        }
        let undelivered = std::mem::take(&mut queue.messages);
        drop(queue);
        drop(undelivered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::sim::{Simulation, for_each_seed, sleep, spawn};

    type Pair = (MeshSender<u32>, MeshReceiver<u32>);

    /// The channel from shard 0 to shard 1 of two.
    async fn channel(capacity: usize) -> Pair {
        let mut peers = mesh::<u32>(2, capacity);
        let (one, zero) = (peers.pop().unwrap(), peers.pop().unwrap());
        let one = spawn(one.join());
        let (mut senders, _) = zero.join().await;
        let (_, mut receivers) = one.await;
        assert!(senders[0].is_none() && receivers[1].is_none());
        (senders[1].take().unwrap(), receivers[0].take().unwrap())
    }

    #[test]
    fn messages_arrive_once_and_in_order_through_a_bounded_queue() {
        for_each_seed(200, |seed| {
            Simulation::new(seed).run(async {
                let (sender, receiver) = channel(3).await;
                let sending = spawn(async move {
                    for number in 0..50 {
                        sender.send(number).await.unwrap();
                    }
                });
                for number in 0..50 {
                    assert_eq!(receiver.recv().await, Some(number));
                }
                sending.await;
                assert_eq!(receiver.recv().await, None);
            });
        });
    }

    #[test]
    fn a_full_queue_gives_the_message_back_and_makes_send_wait() {
        Simulation::new(1).run(async {
            let (sender, receiver) = channel(2).await;
            sender.try_send(1).unwrap();
            sender.try_send(2).unwrap();
            assert_eq!(sender.try_send(3), Err(3));
            let limit = Duration::from_secs(1);
            assert_eq!(crate::runtime::timeout(limit, sender.send(3)).await, None);
            assert_eq!(receiver.recv().await, Some(1));
            sender.try_send(4).unwrap();
            assert_eq!(receiver.recv().await, Some(2));
            assert_eq!(receiver.recv().await, Some(4));
        });
    }

    #[test]
    fn sending_to_a_receiver_that_is_gone_gives_the_message_back() {
        Simulation::new(1).run(async {
            let (sender, receiver) = channel(1).await;
            sender.try_send(1).unwrap();
            let waiting = spawn(async move { (sender.send(2).await, sender.try_send(3)) });
            sleep(Duration::from_millis(1)).await;
            drop(receiver);
            assert_eq!(waiting.await, (Err(2), Err(3)));
        });
    }
}
