//! What commands that work on a data directory have in common: it is theirs alone while they do, and an executor
//! reads it the way a broker does.

use super::Failure;
use crate::config::commit_size;
use crate::control_plane::examine::{Examined, examine};
use crate::limits::COMMIT_BYTES_MAX;
use crate::log::{LogOptions, PartitionFacts, ShardLog};
use crate::probe::Probe;
use std::path::PathBuf;
use std::rc::Rc;

#[derive(Clone, Debug, clap::Args)]
pub struct DataDirectory {
    /// Directory of all data, as the broker's.
    #[arg(long, value_name = "PATH", default_value = "./data", env = "CORELOG_DATA_DIR")]
    pub data_dir: PathBuf,
}

/// A data directory that no broker uses.
pub struct Held {
    pub shard: Rc<ShardLog>,
    pub examined: Examined,
}

impl Held {
    /// The partitions of these names, `TOPIC` or `TOPIC-PARTITION`; all if none is named.
    pub fn chosen(&self, names: &[String]) -> Result<Vec<PartitionFacts>, Failure> {
        let is_named = |facts: &PartitionFacts, name: &str| {
            *facts.id.topic == *name || facts.id.to_string() == name
        };
        let all = &self.examined.partitions;
        if let Some(name) = names.iter().find(|name| !all.iter().any(|p| is_named(p, name))) {
            let shown = self.shard.options.data_directory.display();
            let sentence = format!("{shown} has no topic or partition named {name}");
            return Err(Failure::usage(sentence));
        }
        let is_chosen =
            |facts: &&PartitionFacts| names.is_empty() || names.iter().any(|n| is_named(facts, n));
        Ok(all.iter().filter(is_chosen).cloned().collect())
    }
}

impl DataDirectory {
    /// Works beside the data while no broker uses them; nothing of them is read.
    pub fn run_beside<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        run_here(&self.data_dir, true, work)
    }

    /// Works on the directory while no broker does. Who does not write leaves no trace.
    pub fn run<T>(
        &self,
        writes: bool,
        work: impl AsyncFnOnce(Held) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let directory = self.data_dir.clone();
        let shown = directory.display().to_string();
        run_here(&self.data_dir, writes, async move {
            let cannot = |error: &dyn std::fmt::Display| {
                Failure::failed(format!("cannot read {shown}: {error}"))
            };
            let commit_bytes_max = commit_bytes_max(&directory);
            let options = LogOptions { commit_bytes_max, ..LogOptions::new(directory.clone()) };
            let shard = ShardLog::new(options, Rc::new(Probe::default()));
            shard.load_recovery_points().await.map_err(|error| cannot(&error))?;
            let examined = examine(&directory).await.map_err(|error| cannot(&error))?;
            work(Held { shard, examined }).await
        })
    }
}

/// What a start would take for one commit at a log's end.
fn commit_bytes_max(directory: &std::path::Path) -> usize {
    let told = std::fs::read(directory.join(commit_size::FILE_NAME)).ok();
    match commit_size::longest(told.as_deref()) {
        0 => COMMIT_BYTES_MAX,
        bytes => bytes,
    }
}

#[cfg(not(any(test, feature = "sim")))]
fn run_here<T>(
    directory: &std::path::Path,
    writes: bool,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    use crate::runtime::{self, DirectoryLock};
    let shown = directory.display();
    let cannot = |error| Failure::failed(format!("cannot use {shown}: {error}"));
    if !directory.is_dir() {
        return Err(Failure::failed(format!("{shown} is no directory (see --data-dir)")));
    }
    let path = directory.join(".lock");
    let lock =
        if writes { DirectoryLock::acquire(&path) } else { DirectoryLock::acquire_to_read(&path) };
    let Some(_lock) = lock.map_err(cannot)? else {
        let sentence = format!("{shown} is in use by a running corelog: stop it first");
        return Err(Failure::failed(sentence));
    };
    let prepared = async {
        let prepared = match writes {
            true => runtime::prepare_directory(directory).await,
            false => runtime::prepare_to_read(directory).await,
        };
        prepared.map_err(cannot)?;
        work.await
    };
    runtime::run_local(prepared).map_err(|error| super::connect::no_executor(&error))?
}

#[cfg(any(test, feature = "sim"))]
fn run_here<T>(
    _directory: &std::path::Path,
    _writes: bool,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    drop(work);
    Err(Failure::failed("this build runs on the simulation and reads no disk"))
}
