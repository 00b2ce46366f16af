//! What members of either protocol share: who they are, and what they are in the mood for.

use super::model::{Patience, Place};
use crate::runtime::{self, Instant};
use crate::simulator::broker::world::World;
use crate::simulator::dice::Dice;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

/// What does not change of a member, whichever process it is.
#[derive(Clone, Debug)]
pub struct Facts {
    pub name: String,
    pub group: String,
    /// A static member's.
    pub instance: Option<String>,
    /// What it subscribes to at first; later, to some of these.
    pub topics: Vec<String>,
    pub patience: Patience,
    /// By KIP-848 the broker assigns.
    pub assignor: Option<&'static str>,
}

impl Facts {
    pub fn some_topics(&self, dice: &Dice) -> Vec<String> {
        let (all, first) = (&self.topics, dice.below(self.topics.len() as u64) as usize);
        if dice.percent(50) { all.clone() } else { vec![all[first].clone()] }
    }

    pub fn some_places(&self, dice: &Dice, owned: &BTreeSet<Place>) -> BTreeSet<Place> {
        owned.iter().filter(|_| dice.percent(70)).cloned().collect()
    }
}

/// How members are for the time being.
#[derive(Clone)]
pub struct Mood {
    /// They stay and do what they are told, and nothing else.
    pub is_calm: bool,
    pub until: Instant,
    pub is_over: Rc<Cell<bool>>,
}

impl Mood {
    pub fn is_over(&self, world: &World) -> bool {
        self.is_over.get() || world.now.get().stopping || runtime::now() >= self.until
    }

    /// Between two things that a member does.
    pub async fn wait(&self, dice: &Dice, most: Duration) {
        let wait = match self.is_calm {
            true => most,
            false => Duration::from_micros(dice.below(most.as_micros() as u64)),
        };
        runtime::sleep(wait.min(self.until.since(runtime::now()))).await;
    }
}
