//! One group as its members see it: who holds what, in which generation, and since when it is not whole. Pure.

use corelog::runtime::Instant;
use std::time::Duration;

/// What one member has.
#[derive(Clone, Debug, Default)]
struct Held {
    /// The generation or member epoch; none while it is not in the group.
    epoch: Option<i32>,
    partitions: Vec<i32>,
    /// It is to leave and to come again, and has not left yet.
    is_to_restart: bool,
}

/// A group is stable when all its members are in the same generation and have all partitions among them.
#[derive(Clone, Debug)]
pub struct Track {
    partitions: usize,
    members: Vec<Held>,
    disturbed_at: Option<Instant>,
    /// Partitions that a member was given while another had not given them up.
    pub doubled: u64,
}

impl Track {
    pub fn new(members: usize, partitions: usize) -> Track {
        Track {
            partitions,
            members: vec![Held::default(); members],
            disturbed_at: None,
            doubled: 0,
        }
    }

    pub fn is_stable(&self) -> bool {
        let first = self.members[0].epoch;
        let same = self.members.iter().all(|held| held.epoch == first && !held.is_to_restart);
        let held: usize = self.members.iter().map(|held| held.partitions.len()).sum();
        first.is_some() && same && held == self.partitions
    }

    /// These members are about to leave or to join. Of two disturbances that meet the first counts.
    pub fn disturb(&mut self, at: Instant, restarting: impl Iterator<Item = usize>) {
        self.disturbed_at.get_or_insert(at);
        restarting.for_each(|member| self.members[member].is_to_restart = true);
    }

    /// A member is out of the group, or on its way into the next generation, and works on nothing.
    pub fn give_up(&mut self, member: usize) {
        self.members[member] = Held::default();
    }

    /// A member works on these partitions in this generation; how long the group was disturbed, if it is now stable
    /// again.
    pub fn hold(
        &mut self,
        member: usize,
        epoch: i32,
        partitions: &[i32],
        now: Instant,
    ) -> Option<Duration> {
        let others = self.members.iter().enumerate().filter(|(other, _)| *other != member);
        let taken: u64 = others
            .map(|(_, held)| held.partitions.iter().filter(|at| partitions.contains(at)).count())
            .sum::<usize>() as u64;
        self.doubled += taken;
        let held = &mut self.members[member];
        (held.epoch, held.partitions) = (Some(epoch), partitions.to_vec());
        if !self.is_stable() {
            return None;
        }
        self.disturbed_at.take().map(|at| now.since(at))
    }
}
