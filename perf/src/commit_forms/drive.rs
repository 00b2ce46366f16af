//! The closed loop, the same for all forms: so many batches always wait, dealt out to the partitions in turn. What is
//! acknowledged is followed by another for the next partition.

use super::CommitForms;
use crate::histogram::Latencies;
use crate::process::{self, Device};
use corelog::runtime::{self, Instant};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::future::Future;
use std::io;
use std::time::Duration;

/// What a form has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes of batches to files: commits of the log, or those to the journal and the pieces of segments.
    pub writes: u64,
    /// Of these, writes that were durable when they ended; and syncs beside them.
    pub syncs: u64,
    /// Writes of the journal's batches to segments.
    pub pieces: u64,
    /// Regions of the journal that were emptied.
    pub regions: u64,
    /// Times that batches waited because no region was free, and how long.
    pub stalls: u64,
    pub stalled: Duration,
}

impl Counts {
    pub fn since(self, earlier: Counts) -> Counts {
        Counts {
            writes: self.writes - earlier.writes,
            syncs: self.syncs - earlier.syncs,
            pieces: self.pieces - earlier.pieces,
            regions: self.regions - earlier.regions,
            stalls: self.stalls - earlier.stalls,
            stalled: self.stalled - earlier.stalled,
        }
    }
}

/// What was used and done up to a moment.
#[derive(Clone, Debug)]
pub struct Look {
    pub at: Instant,
    /// Of this process: all threads, and what the kernel's workers do for them.
    pub cpu: Duration,
    /// What this process made the kernel write, where that is told.
    pub written_bytes: Option<u64>,
    /// What all of the host have made the device do.
    pub device: Option<Device>,
    pub counts: Counts,
}

impl Look {
    pub fn now(device: Option<&str>, counts: Counts) -> Look {
        let used = process::used(std::process::id());
        Look {
            at: runtime::now(),
            cpu: runtime::process_usage().cpu,
            written_bytes: used.and_then(|used| used.device_written_bytes),
            device: device.and_then(process::device),
            counts,
        }
    }
}

/// The measured time.
#[derive(Clone, Debug)]
pub struct Driven {
    /// Acknowledged in it.
    pub batches: u64,
    pub latencies: Latencies,
    pub before: Look,
    pub after: Look,
}

/// Offers batches, each of which is through when its future is, until time or room is over.
///
/// # Errors
/// What kept a batch from being acknowledged, or that nothing was measured.
pub async fn run<W: Future<Output = io::Result<()>>>(
    given: &CommitForms,
    batch_bytes: usize,
    offer: impl Fn(usize) -> io::Result<W>,
    look: impl Fn() -> Look,
) -> io::Result<Driven> {
    prime(given, &offer).await?;
    let mut partition = 0;
    let mut next = || {
        let (offered_at, acknowledged) = (runtime::now(), offer(partition)?);
        partition = (partition + 1) % given.partitions;
        Ok::<_, io::Error>(async move { acknowledged.await.map(|()| offered_at) })
    };
    let measure = runtime::now() + given.warm_up.0;
    let end = measure + given.duration.0;
    let mut waiting = FuturesUnordered::new();
    for _ in 0..given.in_flight {
        waiting.push(next()?);
    }
    let (mut before, mut after) = (None, None);
    let (mut bytes, mut batches, mut latencies) = (0, 0, Latencies::default());
    while let Some(acknowledged) = waiting.next().await {
        let offered_at: Instant = acknowledged?;
        let now = runtime::now();
        bytes += batch_bytes as u64;
        if before.is_some() && after.is_none() {
            batches += 1;
            latencies.record(now.0.saturating_sub(offered_at.0));
        }
        if before.is_none() && now >= measure {
            before = Some(look());
        }
        if now < end && bytes < given.data_bytes.0 {
            waiting.push(next()?);
        } else if after.is_none() {
            after = Some(look());
        }
        runtime::yield_if_needed().await;
    }
    match (before, after) {
        (Some(before), Some(after)) if batches > 0 => {
            Ok(Driven { batches, latencies, before, after })
        }
        _ => Err(io::Error::other("nothing was measured: data_bytes ended before the warm-up did")),
    }
}

/// A batch to each partition, so that its folder and its files are there.
async fn prime<W: Future<Output = io::Result<()>>>(
    given: &CommitForms,
    offer: &impl Fn(usize) -> io::Result<W>,
) -> io::Result<()> {
    let mut waiting = FuturesUnordered::new();
    for partition in 0..given.partitions {
        if waiting.len() == given.in_flight
            && let Some(acknowledged) = waiting.next().await
        {
            acknowledged?;
        }
        waiting.push(offer(partition)?);
    }
    while let Some(acknowledged) = waiting.next().await {
        acknowledged?;
    }
    Ok(())
}
