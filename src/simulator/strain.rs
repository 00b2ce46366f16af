//! What slows the host down in some histories, and fails nothing: stretches in which a core stands still, and
//! stretches in which all that the disk does takes long. Each ends before what must hold at rest is looked at.

use super::dice::Dice;
use crate::runtime::sim;
use crate::runtime::{self, Instant};
use std::time::Duration;

/// Keeps these choices apart from those of the history.
const SALT: u64 = 0x57A1_11ED_C04E_5107;
const HISTORIES_STRAINED: u64 = 30;
/// How much longer the disk takes.
const FACTORS: [u32; 3] = [10, 30, 100];
/// How long the disk is slow, at most; one of these.
const SLOW_US_MAX: [u64; 3] = [2_000, 20_000, 300_000];
/// For how long a core stands still; one of these, and up to twice.
const STALL_MS: [u64; 4] = [10, 30, 150, 1000];

/// What slows the host down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slow {
    Core,
    Disk,
}

pub struct Strain {
    pub dice: Dice,
    kinds: &'static [Slow],
}

impl Strain {
    /// What strains the host in a seed's history, if anything does.
    pub fn plan(seed: u64) -> Option<Strain> {
        let dice = Dice::new(seed ^ SALT);
        let is_strained = dice.percent(HISTORIES_STRAINED);
        let kinds = dice.pick(&[&[Slow::Core][..], &[Slow::Disk], &[Slow::Core, Slow::Disk]]);
        is_strained.then_some(Strain { dice, kinds })
    }

    /// A life's strain, on a host of so many cores; over when this returns.
    pub async fn work(&self, cores: u16) {
        let mut over = Instant::default();
        for _ in 0..1 + self.dice.below(4) {
            runtime::sleep(Duration::from_micros(self.dice.below(8000))).await;
            match self.dice.pick(self.kinds) {
                Slow::Core => {
                    let ms = self.dice.pick(&STALL_MS);
                    let stall = Duration::from_millis(ms + self.dice.below(ms));
                    sim::stall_core(self.dice.below(cores.into()) as u16, stall);
                    over = over.max(runtime::now() + stall);
                }
                Slow::Disk => self.slow_the_disk().await,
            }
        }
        runtime::sleep(over.since(runtime::now())).await;
    }

    async fn slow_the_disk(&self) {
        let factor = self.dice.pick(&FACTORS);
        sim::note(&format!("the disk takes {factor} times as long"));
        let disk = sim::disk();
        let usual = disk.options().latency;
        let latency = usual.start * factor..usual.end * factor;
        disk.set_options(sim::DiskOptions { latency, ..disk.options() });
        let stretch = self.dice.below(self.dice.pick(&SLOW_US_MAX));
        runtime::sleep(Duration::from_micros(stretch)).await;
        disk.set_options(sim::DiskOptions { latency: usual, ..disk.options() });
    }
}
