//! A whole broker from a configuration: what each core gets, how they start together and stop together.
//!
//! The main thread checks the host and starts a thread per core; after that it only waits. Everything a
//! core owns is made on it.

mod disk;

use crate::admin::{Admin, AdminOptions};
use crate::config::{AdminListen, Config, DiskSettings, HostPort};
use crate::control_plane::{ControlPlane, Controller, balance};
use crate::data_plane::{AnswerBudget, SessionCache};
use crate::limits::{
    ANSWERS_SIXTEENTHS, ARRIVING_SIXTEENTHS, PENDING_SIXTEENTHS, SESSIONS_SIXTEENTHS, SHARDS_MAX,
};
use crate::log::{LogOptions, ShardLog};
use crate::net::Server;
use crate::probe::Probe;
use crate::router::Services;
use crate::runtime::{
    self, DirectoryLock, ListenOptions, Listener, MeshPeer, PortReservation, ShardHandle,
    ShardThread, StopSignal,
};
use crate::shard::Shard;
use crate::shard::endpoints::Endpoints;
use crate::shard::mailbox::{self, Batch};
use crate::shard::request::{ShardRequest, Stage};
use crate::types::{Durability, ShardId};
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// An idle shard polls for this long before it sleeps: none until a measurement pays for it.
const SPIN: Duration = Duration::ZERO;
/// How often a starting shard looks whether shard 0 has the metadata.
const START_POLL: Duration = Duration::from_millis(1);
/// How long the other shards have to leave, beside the grace for connections, once one ended badly.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// How often idle producers are looked for.
const EXPIRE_EVERY: Duration = Duration::from_mins(10);

/// Why the broker does not start or did not stop well: one sentence for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BrokerError(String);

fn failed<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> BrokerError {
    move |error| BrokerError(format!("{what}: {error}"))
}

/// What every shard is started with.
#[derive(Clone)]
struct ShardStart {
    id: ShardId,
    shards: u16,
    config: Arc<Config>,
    endpoints: Arc<Endpoints>,
    /// The common port's address, then this shard's own.
    listen: Vec<SocketAddr>,
    open_files_max: usize,
    memory_bytes: usize,
    disk: DiskSettings,
    admin: AdminAt,
}

/// Where shard 0 serves the admin port.
#[derive(Clone, Copy)]
enum AdminAt {
    Nowhere,
    /// Held for this process, because the operator asked for it.
    Reserved(SocketAddr),
    /// Unless another process has it.
    IfFree(SocketAddr),
}

/// Runs a broker until a signal stops it.
///
/// # Errors
/// One sentence: the data directory is in use, a port is taken, a CPU does not exist, the disk or its model failed.
pub fn run(config: Config) -> Result<(), BrokerError> {
    let cpus = choose_cpus(&config)?;
    let shards = u16::try_from(cpus.len()).expect("bounded by SHARDS_MAX");
    let directory = config.data_dir.clone();
    let shown = directory.display();
    std::fs::create_dir_all(&directory).map_err(failed(format!("cannot make {shown}")))?;
    let lock = DirectoryLock::acquire(&directory.join(".lock"))
        .map_err(failed(format!("the data directory {shown} is not writable")))?;
    let Some(_lock) = lock else {
        let sentence = format!("the data directory {shown} is in use by another corelog");
        return Err(BrokerError(sentence));
    };
    runtime::remove_left_probes(&directory).map_err(failed(format!("cannot list {shown}")))?;
    let (common, own) = reserve_ports(&config, shards)?;
    let ports: Vec<u16> = own.iter().map(|port| port.address.port()).collect();
    let endpoints = Arc::new(Endpoints::new(&config, shards, common.address.port(), &ports));
    let (_admin_port, admin) = reserve_admin_port(&config)?;
    let stop = StopSignal::install().map_err(failed("cannot handle signals"))?;
    runtime::keep_freed_memory();
    let open_files = runtime::raise_open_files_limit().map_err(failed("cannot read limits"))?;
    warn_of_weak_durability(&config);
    let disk = disk::settle(&config)?;
    let config = Arc::new(config);
    let mut stop = Some(stop);
    let mut handles = Vec::new();
    let (told, endings) = channel();
    for (index, peer) in mailbox::ends(usize::from(shards)).into_iter().enumerate() {
        let own = own.get(index).map(|port| port.address);
        let start = ShardStart {
            id: ShardId(index as u16),
            shards,
            config: config.clone(),
            endpoints: endpoints.clone(),
            listen: std::iter::once(common.address).chain(own).collect(),
            open_files_max: open_files_per_shard(&config, open_files, shards),
            memory_bytes: memory_per_shard(&config, shards),
            disk,
            admin,
        };
        let name = format!("shard-{index}");
        let thread = ShardThread { name, cpu: Some(cpus[index]), spin: SPIN };
        let stop = stop.take().filter(|_| index == 0);
        let ending = Ending { shard: index, told: told.clone() };
        let main = move || async move {
            let _ending = ending;
            run_shard(start, peer, stop).await
        };
        let handle = runtime::start_shard(&thread, main)
            .map_err(failed(format!("cannot start the shard of CPU {}", cpus[index])))?;
        handles.push(handle);
    }
    let patience = config.shutdown_grace_ms + LEAVE_WITHIN;
    if await_shards(handles, &endings, patience)? {
        disk::left_complete(&directory);
    }
    tracing::info!("stopped");
    Ok(())
}

/// Whether the shard left all of its logs complete.
type ShardOutcome = Result<bool, BrokerError>;

/// Tells the main thread that a shard ends, however it does.
struct Ending {
    shard: usize,
    told: Sender<usize>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Nobody listens any more when the main thread has run out of patience.
        let _ = self.told.send(self.shard);
    }
}

/// Waits for all shards to end; whether all left their logs complete. When one ends badly, the others are given time to
/// leave in order, and no more: one that never came up may be what they wait for.
fn await_shards(
    handles: Vec<ShardHandle<ShardOutcome>>,
    endings: &Receiver<usize>,
    patience: Duration,
) -> ShardOutcome {
    let mut handles: Vec<_> = handles.into_iter().map(Some).collect();
    let mut outcome = Ok(true);
    for _ in 0..handles.len() {
        let ended = match &outcome {
            Ok(_) => endings.recv().ok(),
            Err(_) => endings.recv_timeout(patience).ok(),
        };
        let Some(handle) = ended.and_then(|shard| handles[shard].take()) else { break };
        let ended = handle.join().map_err(failed("a shard ended badly")).flatten();
        if let Err(error) = &ended {
            tracing::error!(%error, "a shard ended");
        }
        outcome = outcome.and_then(|complete| ended.map(|this| complete && this));
    }
    outcome
}

fn choose_cpus(config: &Config) -> Result<Vec<usize>, BrokerError> {
    let allowed = runtime::allowed_cpus().map_err(failed("cannot tell which CPUs are allowed"))?;
    let cpus = config.cpus.clone().unwrap_or_else(|| allowed.clone());
    if let Some(cpu) = cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        let sentence = format!("CPU {cpu} is not among those this process may use ({allowed:?})");
        return Err(BrokerError(sentence));
    }
    if cpus.len() > SHARDS_MAX {
        return Err(BrokerError(format!("{} CPUs; at most {SHARDS_MAX} are used", cpus.len())));
    }
    Ok(cpus)
}

/// Holds the common port and, with per-core endpoints, one for each shard.
fn reserve_ports(
    config: &Config,
    shards: u16,
) -> Result<(PortReservation, Vec<PortReservation>), BrokerError> {
    let listen = &config.listen;
    let what = format!("cannot listen on {listen}");
    let address = resolve(listen, &what)?;
    let common = PortReservation::acquire(address).map_err(failed(&what))?;
    let mut own = Vec::new();
    if Endpoints::is_per_core(config, shards) {
        for shard in 0..shards {
            let port =
                Endpoints::port_to_bind(config, shards, ShardId(shard)).ok_or_else(|| {
                    BrokerError(format!("{what}: no port is left behind it for shard {shard}"))
                })?;
            let address = SocketAddr::new(address.ip(), port);
            let what =
                format!("cannot listen on {address}, the port of shard {shard} (see --endpoints)");
            own.push(PortReservation::acquire(address).map_err(failed(what))?);
        }
    }
    Ok((common, own))
}

/// Holds the admin port, if the operator asked for one.
fn reserve_admin_port(config: &Config) -> Result<(Option<PortReservation>, AdminAt), BrokerError> {
    let listen = match &config.admin_listen {
        AdminListen::None => return Ok((None, AdminAt::Nowhere)),
        AdminListen::Auto => {
            let usual = AdminListen::usual();
            let address = resolve(&usual, &format!("cannot listen on {usual}"))?;
            return Ok((None, AdminAt::IfFree(address)));
        }
        AdminListen::At(listen) => listen,
    };
    let what = format!("cannot listen on {listen}, the admin port (see --admin-listen)");
    let address = resolve(listen, &what)?;
    let port = PortReservation::acquire(address).map_err(failed(&what))?;
    let at = AdminAt::Reserved(port.address);
    Ok((Some(port), at))
}

fn resolve(listen: &HostPort, what: &str) -> Result<SocketAddr, BrokerError> {
    let mut addresses =
        (listen.host.as_str(), listen.port).to_socket_addrs().map_err(failed(what))?;
    addresses.next().ok_or_else(|| BrokerError(format!("{what}: no address")))
}

fn warn_of_weak_durability(config: &Config) {
    if config.durability == Durability::Memory {
        tracing::warn!(
            "durability=memory: an acknowledgement promises nothing; for benchmarks only"
        );
    }
}

/// Half of the descriptors are for segment files, the rest for connections.
fn open_files_per_shard(config: &Config, limit: u64, shards: u16) -> usize {
    let share = usize::try_from(limit / 2 / u64::from(shards)).unwrap_or(usize::MAX);
    config.open_files_max.unwrap_or_else(|| share.clamp(16, 65_536))
}

fn memory_per_shard(config: &Config, shards: u16) -> usize {
    let share = runtime::host_memory_bytes() / 2 / u64::from(shards);
    // More is not better by itself: memory touched for the first time costs more than the write to disk
    // (measured: 0.24 against 1.0 GB/s while a tail cache of 6 GiB filled).
    let bytes = config.memory_per_shard_bytes.unwrap_or(share.clamp(16 << 20, 1 << 30));
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn log_options(start: &ShardStart) -> LogOptions {
    let config = &start.config;
    let tail = start.memory_bytes / 100 * usize::from(config.tail_cache_percent);
    let expiration = config.producer_id_expiration_ms.as_millis();
    let defaults = LogOptions::new(config.data_dir.clone());
    LogOptions {
        writers: start.disk.commits_in_flight_max.unwrap_or(defaults.writers),
        commit_bytes_max: start.disk.commit_bytes_max.unwrap_or(defaults.commit_bytes_max),
        files_open_max: start.open_files_max,
        tail_cache_bytes: tail,
        pending_bytes_max: (start.memory_bytes - tail) / 16 * PENDING_SIXTEENTHS,
        producer_expiration_ms: i64::try_from(expiration).unwrap_or(i64::MAX),
        shard: start.id.0,
        recovery_scan_bytes_max: config.recovery_scan_bytes_max,
        retention_check: config.retention_check_ms,
        ..defaults
    }
}

/// One core's life.
async fn run_shard(
    start: ShardStart,
    peer: MeshPeer<Batch>,
    stop: Option<StopSignal>,
) -> ShardOutcome {
    let log = ShardLog::new(log_options(&start), Rc::new(Probe::default()));
    let shard = Shard::new(start.id, start.shards, log);
    if let Some(reads) = start.disk.file_reads_in_flight_max {
        shard.set_file_reads_in_flight_max(reads);
    }
    let shown = start.config.data_dir.display();
    let prepared = match runtime::prepare_directory(&start.config.data_dir).await {
        Ok(()) => {
            let loaded = shard.log.load_recovery_points().await;
            loaded.map_err(|error| BrokerError(format!("cannot use {shown}: {error}")))
        }
        Err(error) => Err(BrokerError(format!("cannot use {shown} with direct I/O: {error}"))),
    };
    shard.log.start_writers();
    mailbox::connect(&shard, peer).await;
    let admin = start_admin(&shard, &start);
    let outcome = match prepared {
        Ok(()) => serve(&shard, &start, stop).await,
        Err(error) => Err(error),
    };
    if let Some(admin) = admin {
        admin.close();
    }
    if outcome.is_err() && start.id != ShardId::CONTROLLER {
        // Shard 0 takes all others down; this one cannot.
        runtime::raise_stop_signal();
    }
    shard.mailbox.flushed().await;
    outcome
}

/// On shard 0: metrics and health are there before clients are served, and until the end.
fn start_admin(shard: &Rc<Shard>, start: &ShardStart) -> Option<Rc<Admin>> {
    if shard.id != ShardId::CONTROLLER {
        return None;
    }
    let options = AdminOptions {
        data_directory: start.config.data_dir.clone(),
        per_partition: start.config.metrics_per_partition,
    };
    let admin = Admin::new(shard.clone(), options);
    match start.admin {
        AdminAt::Nowhere => return None,
        AdminAt::IfFree(address) => {
            drop(runtime::spawn_background(admin.clone().serve_if_free(address)));
        }
        // The port is held, so only the kernel's want of memory or descriptors is left to fail.
        AdminAt::Reserved(address) => {
            if let Err(error) = admin.serve_at(address) {
                tracing::error!(%address, %error, "cannot serve the admin port");
            }
        }
    }
    Some(admin)
}

async fn serve(shard: &Rc<Shard>, start: &ShardStart, stop: Option<StopSignal>) -> ShardOutcome {
    let config = &start.config;
    if shard.id == ShardId::CONTROLLER
        && let Err(error) = Controller::start(shard, config).await
    {
        leave_together(shard).await;
        return Err(BrokerError(error.to_string()));
    }
    let control = ControlPlane::new(shard.clone(), config.clone(), start.endpoints.clone());
    let sixteenth = (start.memory_bytes - shard.log.options.tail_cache_bytes) / 16;
    let session_bytes = sixteenth * SESSIONS_SIXTEENTHS;
    let sessions = SessionCache::new(config.fetch_sessions_max, session_bytes, runtime::random_u64);
    let services = Services {
        shard: shard.clone(),
        control,
        sessions: Rc::new(sessions),
        answers: AnswerBudget::new(sixteenth * ANSWERS_SIXTEENTHS),
        fetch_bytes_max: config.fetch_bytes_max,
    };
    let server = Server::new(services, config.clone(), sixteenth * ARRIVING_SIXTEENTHS);
    if shard.id != ShardId::CONTROLLER && !wait_for_image(shard).await {
        return finish(shard, &server, config).await;
    }
    for address in &start.listen {
        let options = ListenOptions { shared: true, backlog: BACKLOG };
        match Listener::bind(*address, options) {
            Ok(listener) => drop(runtime::spawn(server.clone().accept_from(listener))),
            Err(error) => return Err(BrokerError(format!("cannot listen on {address}: {error}"))),
        }
    }
    drop(runtime::spawn(server.clone().sweep()));
    drop(runtime::spawn_background(expire_producers(shard.clone())));
    drop(runtime::spawn_background(shard.clone().measure_load()));
    if config.balance_cores && shard.id == ShardId::CONTROLLER && shard.shards > 1 {
        drop(runtime::spawn_background(balance::run(shard.clone())));
    }
    let durability = config.durability;
    let (partitions, listen) = (shard.partition_count(), &start.listen);
    shard.lifecycle.set_ready();
    tracing::info!(shard = %shard.id, partitions, %durability, ?listen, "ready");
    if let Some(stop) = stop {
        if let Err(error) = stop.wait().await {
            tracing::error!(%error, "cannot wait for signals any more; stopping");
        }
        tracing::info!("stopping");
        // This shard takes its own steps while it asks the others for theirs.
        let (own, down) = (finish(shard, &server, config), leave_together(shard));
        return futures_util::future::join(own, down).await.0;
    }
    finish(shard, &server, config).await
}

/// Waits for the first metadata from shard 0; false when the broker stops instead.
async fn wait_for_image(shard: &Rc<Shard>) -> bool {
    while shard.image().version == 0 {
        let asked = shard.lifecycle.asked(Stage::Draining);
        if runtime::timeout(START_POLL, asked).await.is_some() {
            return false;
        }
    }
    true
}

/// On shard 0: takes all shards down, stage by stage.
async fn leave_together(shard: &Rc<Shard>) {
    for stage in [Stage::Draining, Stage::Stopped] {
        let asks = shard.all_shards().filter(|id| *id != shard.id);
        let asks: Vec<_> = asks.map(|id| shard.ask(id, ShardRequest::Enter(stage))).collect();
        let own = async {
            if shard.lifecycle.is_served() {
                shard.lifecycle.enter(stage).await;
            }
        };
        futures_util::future::join(futures_util::future::join_all(asks), own).await;
    }
}

/// Takes this shard down as the stages are asked for.
async fn finish(shard: &Rc<Shard>, server: &Rc<Server>, config: &Config) -> ShardOutcome {
    shard.lifecycle.serve();
    shard.lifecycle.asked(Stage::Draining).await;
    server.stop(config.shutdown_grace_ms).await;
    shard.lifecycle.finish(Stage::Draining);
    shard.lifecycle.asked(Stage::Stopped).await;
    let complete = shard.stop_partitions().await;
    tell_counts(shard);
    shard.lifecycle.finish(Stage::Stopped);
    // The answer to the last question leaves in another task's turn.
    runtime::yield_now().await;
    Ok(complete)
}

/// What this core did, for whoever compares: above all how often it had to ask another.
fn tell_counts(shard: &Shard) {
    let probe = &shard.probe;
    tracing::info!(
        shard = %shard.id,
        requests = probe.requests(),
        hops = probe.hops.get(),
        batches = probe.batches_appended.get(),
        bytes = probe.bytes_appended.get(),
        commits = probe.commit_bytes.count(),
        tail_reads = probe.tail_reads.get(),
        disk_reads = probe.disk_reads.get(),
        connections = probe.connections_accepted.get(),
        "shard stopped"
    );
}

async fn expire_producers(shard: Rc<Shard>) {
    loop {
        runtime::sleep(EXPIRE_EVERY).await;
        let now = runtime::wall_clock();
        for partition in shard.partitions() {
            partition.expire_producers(now);
            runtime::yield_if_needed().await;
        }
    }
}
