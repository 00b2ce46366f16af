//! A client's connection: to any core, made anew when it breaks. Whatever is asked is answered, or the
//! connection ends.

use super::world::{World, tell};
use crate::net::harness::{Client, address, common_address};
use crate::runtime;
use crate::simulator::dice::Dice;
use crate::wire::{Request, decode_response, encode_request};
use bytes::Bytes;
use std::rc::Rc;
use std::time::Duration;

/// In virtual time; no disk here is that slow.
const ANSWER_AFTER_MAX: Duration = Duration::from_mins(2);

pub struct Link {
    pub world: Rc<World>,
    client: Option<Client>,
    /// Where to connect: a shard, or whichever accepts.
    pub shard: Option<usize>,
    /// Connections made.
    pub made: u64,
}

impl Link {
    /// To any shard.
    pub fn new(world: &Rc<World>, dice: &Dice) -> Link {
        let shards = u64::from(world.now.get().shards);
        let shard = dice.percent(70).then(|| dice.below(shards) as usize);
        Link { world: world.clone(), client: None, shard, made: 0 }
    }

    pub fn is_broken(&self) -> bool {
        self.client.is_none()
    }

    /// Leaves, whatever is in flight.
    pub fn leave(&mut self) {
        self.client = None;
    }

    async fn connected(&mut self) -> Option<&mut Client> {
        if self.client.is_none() {
            let at = self.shard.map_or_else(common_address, address);
            match Client::connect(at).await {
                Ok(client) => self.client = Some(client),
                Err(error) => {
                    self.expect_end(&error);
                    return None;
                }
            }
            self.made += 1;
        }
        self.client.as_mut()
    }

    fn expect_end(&mut self, error: &std::io::Error) {
        self.client = None;
        self.world.tally.borrow_mut().lost_answers += 1;
        let now = self.world.now.get();
        assert!(now.cuts || now.stopping, "the broker ended a connection: {error}");
        tell(|| format!("a connection ended: {error}"));
    }

    /// Sends a request and waits for its answer; none when the connection ended.
    pub async fn ask<R: Request>(&mut self, version: i16, request: &R) -> Option<R::Response> {
        self.send(version, request).await?;
        self.receive::<R>(version).await
    }

    /// Sends a request without waiting for its answer.
    pub async fn send<R: Request>(&mut self, version: i16, request: &R) -> Option<()> {
        let bytes = encode_request(request, version, 7, None).out;
        self.world.tally.borrow_mut().requests += 1;
        let client = self.connected().await?;
        let sent = runtime::timeout(ANSWER_AFTER_MAX, client.send(&bytes)).await;
        match sent.expect("the broker reads what is sent") {
            Ok(()) => Some(()),
            Err(error) => {
                self.expect_end(&error);
                None
            }
        }
    }

    /// The answer to the oldest request in flight.
    pub async fn receive<R: Request>(&mut self, version: i16) -> Option<R::Response> {
        let answer: Bytes = {
            let client = self.client.as_mut()?;
            let received = runtime::timeout(ANSWER_AFTER_MAX, client.receive()).await;
            match received.unwrap_or_else(|| panic!("no answer to a {} request", R::KEY)) {
                Ok(answer) => answer,
                Err(error) => {
                    self.expect_end(&error);
                    return None;
                }
            }
        };
        Some(decode_response::<R>(answer, version).expect("a sound response").1)
    }
}
