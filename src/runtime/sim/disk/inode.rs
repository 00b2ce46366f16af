//! One file in two views: what the running system reads, and what power loss would leave; and the
//! changes between them, which a sync makes durable and a power loss keeps or loses by luck.

use super::image::{Extent, Image, SECTOR_BYTES};
use crate::runtime::sim::random::Random;
use crate::types::Timestamp;
use std::collections::VecDeque;

/// Changes of one file that wait for a sync. At it, the oldest reach the platter by themselves.
const CHANGES_UNSYNCED_MAX: usize = 1024;

/// A change of a file that was made but not synced.
#[derive(Clone)]
enum Change {
    Length { from: u64, to: u64 },
    Write(Extent),
}

/// A write that was submitted and has not completed.
#[derive(Clone)]
pub(super) struct Flight {
    pub operation: u64,
    pub extent: Extent,
    pub sync_on_write: bool,
}

/// How a write ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteEnd {
    Written,
    /// Any part of it is written.
    Failed,
    /// There is no space for it: nothing is written.
    Refused,
}

#[derive(Clone)]
pub(super) struct FileNode {
    /// What reads see.
    current: Image,
    /// What power loss leaves for certain.
    durable: Image,
    /// What leads from `durable` to `current`, each with its number, oldest first.
    unsynced: VecDeque<(u64, Change)>,
    in_flight: Vec<Flight>,
    modified: Timestamp,
}

impl FileNode {
    pub fn new(modified: Timestamp) -> FileNode {
        let (current, durable) = (Image::default(), Image::default());
        FileNode { current, durable, unsynced: VecDeque::new(), in_flight: Vec::new(), modified }
    }

    pub fn current(&self) -> &Image {
        &self.current
    }

    pub fn modified(&self) -> Timestamp {
        self.modified
    }

    pub fn touch(&mut self, modified: Timestamp) {
        self.modified = modified;
    }

    /// Becomes `image`, durably, whatever it was.
    pub fn replace(&mut self, image: Image) {
        self.unsynced.clear();
        self.durable = image.clone();
        self.current = image;
    }

    /// Turns a bit over in both views: the platter rots, not the cache.
    pub fn flip_bit(&mut self, position: u64, bit: u8) {
        self.current.flip_bit(position, bit);
        if position < self.durable.length() {
            self.durable.flip_bit(position, bit);
        }
    }

    pub fn in_flight(&self) -> &[Flight] {
        &self.in_flight
    }

    /// Starts a write; what it writes may be seen from here on, in part.
    pub fn start_write(&mut self, flight: Flight, random: &Random) {
        if random.one_in(4) {
            self.current.apply_sectors(&flight.extent, || random.one_in(2));
        }
        self.in_flight.push(flight);
    }

    pub fn finish_write(&mut self, operation: u64, end: WriteEnd, number: u64, random: &Random) {
        let Some(index) = self.in_flight.iter().position(|flight| flight.operation == operation)
        else {
            return;
        };
        let flight = self.in_flight.remove(index);
        let extent = match end {
            WriteEnd::Written => flight.extent,
            WriteEnd::Failed => self.current.mixed(&flight.extent, || random.one_in(2)),
            WriteEnd::Refused => return,
        };
        let grows = extent.end() > self.current.length();
        if grows && (end == WriteEnd::Written || random.one_in(2)) {
            self.change_length(extent.end(), number);
        }
        self.current.apply(&extent);
        if !flight.sync_on_write {
            self.unsynced.push_back((number, Change::Write(extent)));
            self.write_back_excess();
        } else if end == WriteEnd::Written {
            self.commit_write(&extent);
        } else {
            self.durable.apply_sectors(&extent, || random.one_in(2));
        }
    }

    pub fn change_length(&mut self, to: u64, number: u64) {
        let from = self.current.length();
        self.current.resize(to);
        self.unsynced.push_back((number, Change::Length { from, to }));
        self.write_back_excess();
    }

    fn write_back_excess(&mut self) {
        while self.unsynced.len() > CHANGES_UNSYNCED_MAX {
            self.commit_oldest();
        }
    }

    fn commit_oldest(&mut self) {
        match self.unsynced.pop_front() {
            Some((_, Change::Length { to, .. })) => self.durable.resize(to),
            Some((_, Change::Write(extent))) => self.commit_extent(&extent),
            None => {}
        }
    }

    /// What is durable can be read, so its length is durable too, even if an earlier sync lost that.
    fn commit_extent(&mut self, extent: &Extent) {
        if extent.end() > self.durable.length() {
            self.durable.resize(extent.end());
        }
        self.durable.apply(extent);
    }

    /// Makes durable what `sync` found done when it was called.
    pub fn commit_through(&mut self, number: u64) {
        while self.unsynced.front().is_some_and(|(change, _)| *change <= number) {
            self.commit_oldest();
        }
    }

    /// A sync that failed: any part of what it covered may be on the platter, and what is not counts
    /// as clean, so no later sync writes it ("fsyncgate", https://lwn.net/Articles/752063/).
    pub fn fail_sync(&mut self, number: u64, random: &Random) {
        let covered = |(change, _): &&(u64, Change)| *change <= number;
        let lengths = self.unsynced.iter().filter(covered).filter(is_length).count();
        let mut lengths_kept = random.index(lengths + 1);
        while self.unsynced.front().is_some_and(|(change, _)| *change <= number) {
            match self.unsynced.pop_front() {
                Some((_, Change::Length { to, .. })) if lengths_kept > 0 => {
                    lengths_kept -= 1;
                    self.durable.resize(to);
                }
                Some((_, Change::Write(extent))) => {
                    self.durable.apply_sectors(&extent, || random.one_in(2));
                }
                _ => {}
            }
        }
    }

    /// A write with O_DSYNC is durable, with the length that it needs, when it completes. Older
    /// unsynced writes stay so, but can no longer reach what it wrote.
    fn commit_write(&mut self, extent: &Extent) {
        let shrinks = |(_, change): &(u64, Change)| matches!(change, Change::Length { from, to } if to < from);
        if let Some(last) = self.unsynced.iter().rposition(shrinks) {
            (0..=last).for_each(|_| self.commit_oldest());
        }
        for (number, change) in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Length { to, .. } => self.durable.resize(to),
                Change::Write(older) if older.overlaps(extent) => {
                    let rest = older.without(extent).map(|part| (number, Change::Write(part)));
                    self.unsynced.extend(rest);
                }
                Change::Write(_) => self.unsynced.push_back((number, change)),
            }
        }
        self.commit_extent(extent);
    }

    /// Leaves what a power loss leaves, each sector that was not synced by its own luck.
    pub fn lose_power(&mut self, random: &Random) {
        let luck = Luck::draw(random);
        let unsynced_lengths = self.unsynced.iter().filter(is_length).count();
        let mut lengths_kept = match luck {
            Luck::Nothing => 0,
            Luck::Everything => unsynced_lengths,
            _ => random.index(unsynced_lengths + 1),
        };
        for (_, change) in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Length { to, .. } if lengths_kept > 0 => {
                    lengths_kept -= 1;
                    self.durable.resize(to);
                }
                Change::Length { .. } => {}
                Change::Write(extent) => luck.write(&mut self.durable, &extent, random),
            }
        }
        for Flight { extent, .. } in std::mem::take(&mut self.in_flight) {
            let grows = extent.end() > self.durable.length();
            if grows && luck.grows(random) {
                self.durable.resize(extent.end());
            }
            luck.write(&mut self.durable, &extent, random);
        }
        self.current = self.durable.clone();
    }
}

fn is_length((_, change): &&(u64, Change)) -> bool {
    matches!(change, Change::Length { .. })
}

/// How one file fares in a power loss.
#[derive(Clone, Copy)]
enum Luck {
    Nothing,
    Everything,
    WholeWrites,
    /// Each write up to some sector.
    Prefixes,
    /// Of eight sectors, so many are kept.
    Sectors(u64),
}

impl Luck {
    fn draw(random: &Random) -> Luck {
        match random.below(7) {
            0 => Luck::Nothing,
            1 => Luck::Everything,
            2 => Luck::WholeWrites,
            3 => Luck::Prefixes,
            4 => Luck::Sectors(1),
            5 => Luck::Sectors(4),
            _ => Luck::Sectors(7),
        }
    }

    fn grows(self, random: &Random) -> bool {
        match self {
            Luck::Nothing => false,
            Luck::Everything => true,
            _ => random.one_in(2),
        }
    }

    fn write(self, image: &mut Image, extent: &Extent, random: &Random) {
        match self {
            Luck::Nothing => {}
            Luck::Everything => image.apply(extent),
            Luck::WholeWrites if random.one_in(2) => image.apply(extent),
            Luck::WholeWrites => {}
            Luck::Prefixes => {
                let mut kept = random.index(extent.length / SECTOR_BYTES + 1);
                image.apply_sectors(extent, || {
                    kept = kept.wrapping_sub(1);
                    kept < extent.length
                });
            }
            Luck::Sectors(kept) => image.apply_sectors(extent, || random.below(8) < kept),
        }
    }
}
