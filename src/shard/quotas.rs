//! Holding clients to their quotas: what this core has seen of them, and how long they are to be still.
//!
//! Each quota in use is a bucket that says until when its client is in debt. Every shard keeps a bucket for
//! the whole quota and charges it with what it serves itself; ten times a second it tells the other shards
//! what it has charged, and they charge theirs with the same. So no part of a quota is tied to a core that the
//! client does not use, and what several cores let pass at once, before they have heard of each other, is a
//! debt that all of them wait for: over time the sum holds.
//!
//! While no quota is set, a request costs one look at a flag. Never waits, never drops a request: the answer
//! says how long the client was too fast (KIP-219), and its connection is then not read for so long.

use super::Shard;
use super::quota_table::{Holding, QuotaKind, QuotaTable};
use super::request::ShardRequest;
use crate::limits::QUOTA_BUCKETS_MAX;
use crate::runtime::{self, Instant};
use futures_util::future::join_all;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The user of every connection until there is authentication.
pub const ANONYMOUS: &str = "ANONYMOUS";

/// How often shards tell each other what they have charged.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// The most that one charge may cost: what `throttle_time_ms` can say.
const COST_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// Longest pause for the time that requests took, as Kafka's: one window of a second.
const REQUEST_TIME_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How much of a quota may be used at once by whoever was still before, in time.
fn burst(kind: QuotaKind) -> Duration {
    match kind {
        // Kafka's bucket holds eleven windows, so that a topic of several partitions can be made at once.
        QuotaKind::Mutations => Duration::from_secs(11),
        _ => Duration::from_secs(1),
    }
}

/// One quota in use. All who share it have the same key on all shards; that two others do by chance is less
/// likely than that a disk forgets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketKey {
    kind: QuotaKind,
    hash: u64,
}

impl BucketKey {
    fn new(kind: QuotaKind, holding: &Holding, user: &str, client: &str) -> BucketKey {
        let mut hasher = DefaultHasher::new();
        (holding.by_user.then_some(user), holding.by_client.then_some(client)).hash(&mut hasher);
        BucketKey { kind, hash: hasher.finish() }
    }
}

/// What one shard knows of the clients' use of their quotas.
#[derive(Default)]
pub struct Ledger {
    /// Some quota is set.
    is_active: Cell<bool>,
    table: RefCell<Arc<QuotaTable>>,
    /// When each bucket will be full again.
    buckets: RefCell<HashMap<BucketKey, Instant>>,
    swept_at: Cell<Instant>,
    /// Charged here, not yet told to the others.
    untold: RefCell<BTreeMap<BucketKey, Duration>>,
    is_telling: Cell<bool>,
}

impl Ledger {
    /// Takes up the quotas of a new image. Those that change forgive all debts, so that a higher quota helps
    /// at once.
    pub(super) fn install(&self, table: &Arc<QuotaTable>) {
        if Arc::ptr_eq(&self.table.borrow(), table) {
            return;
        }
        self.is_active.set(!table.is_empty());
        *self.table.borrow_mut() = table.clone();
        self.buckets.borrow_mut().clear();
        self.untold.borrow_mut().clear();
    }

    /// Charges a bucket, and says for how long it is in debt now.
    fn charge(&self, key: BucketKey, cost: Duration, now: Instant) -> Duration {
        let mut buckets = self.buckets.borrow_mut();
        if buckets.len() >= QUOTA_BUCKETS_MAX && !buckets.contains_key(&key) {
            let is_due = now.since(self.swept_at.get()) >= Duration::from_secs(1);
            if is_due {
                self.swept_at.set(now);
                buckets.retain(|_, full_at| *full_at > now);
            }
            if buckets.len() >= QUOTA_BUCKETS_MAX {
                return Duration::ZERO;
            }
        }
        let full_at = buckets.entry(key).or_insert(now);
        *full_at = (*full_at).max(now) + cost;
        debt(key.kind, *full_at, now)
    }

    fn debt_of(&self, key: BucketKey, now: Instant) -> Duration {
        let full_at = self.buckets.borrow().get(&key).copied();
        full_at.map_or(Duration::ZERO, |full_at| debt(key.kind, full_at, now))
    }

    /// What other shards have charged.
    pub(super) fn hear(&self, charged: Vec<(BucketKey, Duration)>) {
        let now = runtime::now();
        for (key, cost) in charged {
            self.charge(key, cost, now);
        }
    }

    #[cfg(test)]
    pub fn bucket_count(&self) -> usize {
        self.buckets.borrow().len()
    }
}

fn debt(kind: QuotaKind, full_at: Instant, now: Instant) -> Duration {
    full_at.since(now).saturating_sub(burst(kind)).min(COST_MAX)
}

/// One request of a client that has quotas: what it uses, and for how long its connection is to be still.
pub struct Meter {
    shard: Rc<Shard>,
    limits: [Option<(BucketKey, f64)>; 4],
    /// Time of this core that is not charged yet.
    spent: Cell<Duration>,
    working_since: Cell<Option<Instant>>,
    pause: Cell<Duration>,
}

impl Shard {
    /// What a client's request is measured with; none when the client has no quotas.
    pub fn meter(self: &Rc<Self>, client_id: Option<&str>) -> Option<Rc<Meter>> {
        if !self.quotas.is_active.get() {
            return None;
        }
        let client = client_id.unwrap_or_default();
        let table = self.quotas.table.borrow();
        let limits = QuotaKind::ALL.map(|kind| {
            let holding = table.holding(ANONYMOUS, client, kind)?;
            Some((BucketKey::new(kind, &holding, ANONYMOUS, client), holding.rate))
        });
        limits.iter().any(Option::is_some).then(|| {
            Rc::new(Meter {
                shard: self.clone(),
                limits,
                spent: Cell::default(),
                working_since: Cell::default(),
                pause: Cell::default(),
            })
        })
    }

    /// Charges a bucket, here now and on the other shards soon.
    fn charge(self: &Rc<Self>, key: BucketKey, cost: Duration) -> Duration {
        let ledger = &self.quotas;
        if self.shards > 1 {
            let mut untold = ledger.untold.borrow_mut();
            if untold.len() < QUOTA_BUCKETS_MAX || untold.contains_key(&key) {
                let sum = untold.entry(key).or_default();
                *sum = sum.saturating_add(cost);
            }
            drop(untold);
            if !ledger.is_telling.replace(true) {
                let shard = self.clone();
                drop(runtime::spawn(async move { shard.tell_charges().await }));
            }
        }
        ledger.charge(key, cost, runtime::now())
    }

    /// Tells the others what was charged here, until nothing more is.
    async fn tell_charges(self: Rc<Self>) {
        loop {
            runtime::sleep(TELL_EVERY).await;
            let untold = std::mem::take(&mut *self.quotas.untold.borrow_mut());
            if untold.is_empty() || self.is_stopping() {
                self.quotas.is_telling.set(false);
                return;
            }
            let charged: Vec<(BucketKey, Duration)> = untold.into_iter().collect();
            let others = self.all_shards().filter(|shard| *shard != self.id);
            let told = others.map(|shard| {
                self.ask(shard, ShardRequest::HearCharges { charged: charged.clone() })
            });
            join_all(told).await;
        }
    }
}

impl Meter {
    /// The quota of this kind, per second.
    pub fn rate(&self, kind: QuotaKind) -> Option<f64> {
        self.limits[kind.index()].map(|(_, rate)| rate)
    }

    /// Charges what was used; the connection is to be still until the debt is paid.
    pub fn charge(&self, kind: QuotaKind, amount: f64) {
        let Some((key, rate)) = self.limits[kind.index()] else { return };
        let seconds = amount / rate;
        let cost = Duration::try_from_secs_f64(seconds).unwrap_or(COST_MAX).min(COST_MAX);
        self.pause(self.shard.charge(key, cost));
    }

    /// Whether anything more may be done now; if not, the connection is to be still.
    pub fn may(&self, kind: QuotaKind) -> bool {
        let Some((key, _)) = self.limits[kind.index()] else { return true };
        let debt = self.shard.quotas.debt_of(key, runtime::now());
        self.pause(debt);
        debt.is_zero()
    }

    fn pause(&self, pause: Duration) {
        self.pause.set(self.pause.get().max(pause));
    }

    /// Measures how long this core works for the request.
    pub fn work<T>(&self, work: impl FnOnce() -> T) -> T {
        self.working_since.set(Some(runtime::now()));
        let result = work();
        self.note_work();
        self.working_since.set(None);
        result
    }

    fn note_work(&self) {
        if let Some(since) = self.working_since.get() {
            let now = runtime::now();
            self.note(now.since(since));
            self.working_since.set(Some(now));
        }
    }

    fn note(&self, spent: Duration) {
        self.spent.set(self.spent.get().saturating_add(spent));
    }

    fn charge_work(&self) -> Duration {
        self.note_work();
        let spent = self.spent.take();
        let Some((key, percent)) = self.limits[QuotaKind::RequestTime.index()] else {
            return Duration::ZERO;
        };
        let seconds = spent.as_secs_f64() / (percent / 100.0);
        let cost = Duration::try_from_secs_f64(seconds).unwrap_or(COST_MAX).min(COST_MAX);
        self.shard.charge(key, cost).min(REQUEST_TIME_PAUSE_MAX)
    }

    /// What the answer says, in `throttle_time_ms`. To be asked when all but the answer's bytes is done.
    pub fn settle(&self) -> i32 {
        let pause = self.charge_work();
        self.pause(pause);
        // Rounded up: a client that waits for so long is not throttled again for the rest of a millisecond.
        let ms = self.pause.get().as_micros().div_ceil(1000);
        i32::try_from(ms).unwrap_or(i32::MAX)
    }

    /// For how long the connection is not to be read once the answer is on its way.
    pub fn end(&self) -> Duration {
        self.charge_work();
        self.pause.get()
    }
}

#[cfg(test)]
mod tests;
