//! One core's listeners and connections: accepting, counting, idle ones closed, all of them on a stop.

use super::budget::ReceiveBudget;
use super::connection::{self, ConnectionState};
use crate::config::Config;
use crate::probe::{Budget, FrontReading};
use crate::router::Services;
use crate::runtime::{self, Listener};
use crate::shard::Shard;
use bytes::BytesMut;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How often connections are looked through for idle ones.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Pause after an accept that failed, say for want of descriptors.
const ACCEPT_RETRY_AFTER: Duration = Duration::from_millis(100);

/// What the connections of one core share.
pub struct Server {
    pub shard: Rc<Shard>,
    pub config: Arc<Config>,
    pub services: Services,
    pub(super) budget: Rc<ReceiveBudget>,
    /// What one of them has left of the chunk that it received into, for the next (`frame`).
    pub(super) spare_chunk: RefCell<BytesMut>,
    /// In the order of their arrival.
    connections: RefCell<BTreeMap<u64, Rc<ConnectionState>>>,
    next_key: Cell<u64>,
    listeners: RefCell<Vec<Rc<Listener>>>,
    stopping: Cell<bool>,
}

impl Server {
    /// `receive_bytes_max`: memory for requests while they arrive.
    pub fn new(services: Services, config: Arc<Config>, receive_bytes_max: usize) -> Rc<Server> {
        let server = Rc::new(Server {
            shard: services.shard.clone(),
            config,
            services,
            budget: ReceiveBudget::new(receive_bytes_max),
            spare_chunk: RefCell::default(),
            connections: RefCell::default(),
            next_key: Cell::new(0),
            listeners: RefCell::default(),
            stopping: Cell::new(false),
        });
        let known = Rc::downgrade(&server);
        let read = move || known.upgrade().map(|server| server.read_gauges()).unwrap_or_default();
        server.shard.set_front(Box::new(read));
        server
    }

    fn read_gauges(&self) -> FrontReading {
        let answers = &self.services.answers;
        let (session_count, used, limit) = self.services.sessions.usage();
        FrontReading {
            connections: self.connection_count(),
            connections_max: self.connections_max(),
            arriving: Budget { used: self.budget.used(), limit: self.budget.limit() },
            answers: Budget { used: answers.used(), limit: answers.limit() },
            sessions: Budget { used, limit },
            session_count,
        }
    }

    /// As it was configured, or set while brokers run (max.connections).
    fn connections_max(&self) -> usize {
        self.shard.image().connections_max.unwrap_or(self.config.connections_max)
    }

    /// Accepts connections from a listener of this core until the server stops.
    pub async fn accept_from(self: Rc<Self>, listener: Listener) {
        let listener = Rc::new(listener);
        self.listeners.borrow_mut().push(listener.clone());
        while !self.stopping.get() {
            let stream = match listener.accept().await {
                Ok(stream) => stream,
                Err(_) if self.stopping.get() => return,
                Err(error) if is_about_one_connection(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    runtime::sleep(ACCEPT_RETRY_AFTER).await;
                    continue;
                }
            };
            if self.stopping.get() {
                return;
            }
            self.shard.probe.connections_accepted.add(1);
            let limit = self.connections_max();
            if self.connections.borrow().len() >= limit {
                let peer = stream.peer_address();
                tracing::warn!(%peer, limit, "connection closed: too many");
                self.shard.probe.connections_over_limit.add(1);
                continue;
            }
            drop(runtime::spawn(connection::serve(self.clone(), stream)));
        }
    }

    /// Closes connections that have been idle for too long, that owe the rest of a large frame, or that do
    /// not take their answers.
    pub async fn sweep(self: Rc<Self>) {
        let idle_max = self.config.connection_idle_ms_max;
        while !self.stopping.get() {
            runtime::sleep(SWEEP_EVERY).await;
            let now = runtime::now();
            let overdue: Vec<_> = {
                let connections = self.connections.borrow();
                let is_overdue = |state: &&Rc<ConnectionState>| {
                    let idle = state.is_idle() && now.since(state.active_at.get()) > idle_max;
                    idle || state.owes_a_frame(now, self.budget.is_scarce())
                        || state.owes_a_read(now, idle_max, self.services.answers.is_scarce())
                };
                connections.values().filter(is_overdue).cloned().collect()
            };
            let closed = overdue.iter().filter(|state| state.close()).count();
            self.shard.probe.connections_overdue.add(closed as u64);
        }
    }

    pub(super) fn register(&self, state: Rc<ConnectionState>) -> u64 {
        let key = self.next_key.get();
        self.next_key.set(key + 1);
        if self.stopping.get() {
            state.stop();
        }
        self.connections.borrow_mut().insert(key, state);
        key
    }

    pub(super) fn unregister(&self, key: u64) {
        self.connections.borrow_mut().remove(&key);
        self.shard.probe.connections_closed.add(1);
    }

    pub fn connection_count(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Takes no more requests, and waits until those in flight are answered, `grace` at most.
    pub async fn stop(&self, grace: Duration) {
        self.stopping.set(true);
        self.listeners.take().iter().for_each(|listener| listener.close());
        let all: Vec<_> = self.connections.borrow().values().cloned().collect();
        all.iter().for_each(|state| state.stop());
        let deadline = runtime::now() + grace;
        // Members that wait for others would do so for minutes.
        self.services.control.leave_groups(grace).await;
        while self.connection_count() > 0 && runtime::now() < deadline {
            runtime::sleep(Duration::from_millis(5)).await;
        }
        let left: Vec<_> = self.connections.borrow().values().cloned().collect();
        for state in left {
            state.close();
        }
    }
}

/// accept(2): errors of the new connection, after which the next one is as good as any. Pausing for each
/// would let whoever resets connections shut others out.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | NotConnected
            | InvalidInput
            | BrokenPipe
            | Interrupted
    )
}
