//! What may be committed for one partition by one group: a register whose writers may not learn whether they
//! wrote. Every commit has a value of its own, so that a read says which one it was.

use std::collections::{BTreeMap, BTreeSet};

/// What a fetch tells when there is no offset.
pub const NONE: i64 = -1;

/// A commit, or a removal, that may be what is there.
#[derive(Clone, Copy, Debug)]
struct Write {
    value: i64,
    /// When it was sent, which also names it.
    start: u64,
    /// It was done before this; without it, it may yet be done in this life.
    end: Option<u64>,
}

/// What a read may show, as was known when it was sent.
#[derive(Clone, Debug)]
pub struct Asked {
    at: u64,
    allowed: BTreeSet<i64>,
}

impl Asked {
    /// Whether there must have been something.
    pub fn must_be_some(&self) -> bool {
        !self.allowed.contains(&NONE)
    }
}

#[derive(Debug)]
pub struct Register {
    live: Vec<Write>,
    /// When each value was sent, of those that were not refused.
    sent: BTreeMap<i64, u64>,
    refused: BTreeSet<i64>,
    /// When the last removal was sent.
    none_sent: u64,
}

impl Default for Register {
    fn default() -> Register {
        let nothing = Write { value: NONE, start: 0, end: Some(0) };
        let (sent, refused) = (BTreeMap::new(), BTreeSet::new());
        Register { live: vec![nothing], sent, refused, none_sent: 0 }
    }
}

impl Register {
    pub fn send(&mut self, value: i64, now: u64) {
        self.live.push(Write { value, start: now, end: None });
        if value == NONE {
            self.none_sent = now;
        } else {
            self.sent.insert(value, now);
        }
    }

    /// It was acknowledged: nothing that was done before it was sent can be there any more.
    pub fn done(&mut self, start: u64, now: u64) {
        for write in self.live.iter_mut().filter(|write| write.start == start) {
            write.end = write.end.or(Some(now));
        }
        self.forget_before(start, |write| write.start == start);
    }

    /// It was not done, and will not be.
    pub fn refused(&mut self, start: u64) {
        let at = self.live.iter().position(|write| write.start == start);
        if let Some(write) = at.map(|at| self.live.remove(at))
            && write.value != NONE
        {
            self.sent.remove(&write.value);
            self.refused.insert(write.value);
        }
    }

    pub fn ask(&self, now: u64) -> Asked {
        Asked { at: now, allowed: self.live.iter().map(|write| write.value).collect() }
    }

    /// A read shows this.
    pub fn read(&mut self, name: &str, asked: &Asked, value: i64, now: u64) {
        let since = match value {
            NONE => self.none_sent,
            _ => self.sent.get(&value).copied().unwrap_or(0),
        };
        assert!(!self.refused.contains(&value), "{name}: {value} is there, and was refused");
        assert!(
            asked.allowed.contains(&value) || since > asked.at,
            "{name}: {value} is committed, should be one of {:?}",
            asked.allowed
        );
        for write in self.live.iter_mut().filter(|write| write.value == value && value != NONE) {
            write.end = write.end.or(Some(now));
        }
        self.forget_before(asked.at, |write| write.value == value);
    }

    fn forget_before(&mut self, start: u64, stays: impl Fn(&Write) -> bool) {
        self.live.retain(|write| stays(write) || write.end.is_none_or(|end| end > start));
    }

    /// What was not answered will not be done any more. `may_lose`: anything that was ever there may be back.
    pub fn life_ended(&mut self, may_lose: bool, now: u64) {
        if may_lose {
            let all = self.sent.iter();
            self.live = all
                .map(|(value, start)| Write { value: *value, start: *start, end: None })
                .collect();
            self.live.push(Write { value: NONE, start: 0, end: None });
        }
        self.live.iter_mut().for_each(|write| write.end = write.end.or(Some(now)));
    }
}
