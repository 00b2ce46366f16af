//! What is looked at inside of the process, where no client can: where partitions are open, and what is left
//! over when nobody works.

use super::world::World;
use crate::log::{Partition, PartitionId};
use crate::net::harness::Host;
use crate::runtime::{self, sim};
use crate::shard::request::PartitionKey;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

/// Files that are open beside those that shards hold: the metadata log.
const FILES_BESIDE: usize = 1;
/// Of the groups of a history on one shard: a few members, and two topics' offsets each.
const GROUPS_BYTES_HERE_MAX: usize = 256 << 10;
/// Each producer has one, and may have left another with requests that came before.
pub const PRODUCING_CONNECTIONS_MAX: usize = 6;
/// Of a request's records.
pub const REQUEST_BYTES_MAX: usize = 19_000;
/// How long an answer takes from one shard to another, in virtual time: a core may stand still for two seconds, and
/// then again.
const ANSWERS_AFTER_MAX: Duration = Duration::from_secs(5);
/// How long it may take until all shards know what is offline: one look of its shard, and an answer.
const TOLD_AFTER_MAX: Duration = Duration::from_secs(20);
/// How long what is in flight may take to end, in virtual time.
const QUIET_AFTER_MAX: Duration = Duration::from_secs(60);

/// At any moment: no partition is open twice, nor are two of one name.
pub fn check_places(host: &Host) {
    let (mut keys, mut names) = (BTreeSet::new(), BTreeSet::new());
    for server in &host.servers {
        for partition in server.shard.partitions() {
            let id = &partition.id;
            assert!(keys.insert((id.topic_id, id.index)), "{id} is open on two shards");
            assert!(names.insert((id.topic.clone(), id.index)), "{id} is open under two ids");
        }
    }
}

/// At any moment: what a shard caches is within its bound, and what is pending on it within what all shards
/// allow, since connections of others hand it theirs; and each connection that looked takes one request on.
pub fn check_memory(host: &Host) {
    for server in &host.servers {
        let (log, id) = (&server.shard.log, server.shard.id);
        let (cached, most) = (log.cached_bytes(), log.options.tail_cache_bytes);
        assert!(cached <= most, "{cached} bytes are cached on shard {id}, allowed are {most}");
        let slack = PRODUCING_CONNECTIONS_MAX * REQUEST_BYTES_MAX;
        let most = host.servers.len() * log.options.pending_bytes_max + slack;
        let pending = log.pending_bytes();
        assert!(pending <= most, "{pending} bytes are pending on shard {id}, allowed are {most}");
    }
}

/// Bytes that this start read again, of all partitions that are open.
pub fn scanned_bytes(host: &Host) -> u64 {
    let partitions = host.servers.iter().flat_map(|server| server.shard.partitions());
    partitions.map(|partition| partition.recovery().scanned_bytes).sum()
}

/// Whether all shards see the same, and that nobody leads a partition where it cannot be read.
fn is_offline_told(host: &Host) -> bool {
    let image = host.servers[0].shard.image();
    host.servers.iter().all(|server| {
        let partitions = server.shard.partitions();
        let is_told = |partition: &Rc<Partition>| {
            let PartitionId { topic_id, index, .. } = partition.id;
            image.is_offline(PartitionKey { topic_id, index }) == partition.read_fault().is_some()
        };
        server.shard.image().version == image.version && partitions.iter().all(is_told)
    })
}

/// When no topic is being changed: every shard sees the same, and each partition is open on its shard and
/// nowhere else.
pub async fn check_all_open(host: &Host) {
    for server in &host.servers {
        server.shard.opened_all().await;
    }
    let until = runtime::now() + TOLD_AFTER_MAX;
    while !is_offline_told(host) && runtime::now() < until {
        runtime::sleep(Duration::from_millis(20)).await;
    }
    assert!(is_offline_told(host), "shards are told of other partitions that are offline");
    let image = host.servers[0].shard.image();
    for server in &host.servers {
        assert_eq!(server.shard.image().version, image.version, "shards see different facts");
    }
    for topic in image.topics() {
        for (index, place) in (0..).zip(&topic.partitions) {
            for server in &host.servers {
                let shard = &server.shard;
                let is_open = shard.partition(PartitionKey { topic_id: topic.id, index }).is_ok();
                let name = &topic.name;
                assert_eq!(is_open, shard.id == place.shard, "{name}-{index} on {}", shard.id);
            }
        }
    }
    let open: usize = host.servers.iter().map(|server| server.shard.partitions().len()).sum();
    assert_eq!(open, image.partition_count(), "partitions are open that nobody knows");
    check_places(host);
}

/// When groups were stable: nobody waits for the others to join, or for the leader to assign, and what groups
/// hold is as much as so few can.
pub fn check_groups_quiet(host: &Host, world: &World) {
    for server in &host.servers {
        let (groups, shard) = (&server.services.control.groups, server.shard.id);
        let bytes = groups.memory_bytes();
        assert!(bytes < GROUPS_BYTES_HERE_MAX, "groups of shard {shard} hold {bytes} bytes");
        for coordinator in groups.all() {
            let waiting = coordinator.waiting();
            let may_wait = world.now.get().faults;
            assert!(waiting == 0 || may_wait, "{waiting} wait in {:?}", coordinator.key);
        }
    }
}

/// When all clients have left: nobody waits, nothing is pending, and few files are open.
pub async fn check_quiet(host: &Host, files_max: usize) {
    let until = runtime::now() + QUIET_AFTER_MAX;
    let is_busy = || {
        host.servers.iter().any(|server| {
            let waiters =
                server.shard.partitions().iter().map(|partition| partition.waiters()).sum();
            server.connection_count().max(server.shard.log.pending_bytes()).max(waiters) > 0
        })
    };
    while is_busy() && runtime::now() < until {
        runtime::sleep(Duration::from_millis(2)).await;
    }
    let mut held = 0;
    for server in &host.servers {
        let shard = &server.shard;
        assert_eq!(server.connection_count(), 0, "connections are left on shard {}", shard.id);
        assert_eq!(shard.log.pending_bytes(), 0, "bytes are pending on shard {}", shard.id);
        for partition in shard.partitions() {
            assert_eq!(partition.waiters(), 0, "{}: somebody still waits", partition.id);
        }
        assert!(shard.log.files_held() <= files_max, "{} files are held", shard.log.files_held());
        held += shard.log.files_held();
    }
    // Recovery points and indexes are written in the background, and what was deleted is freed.
    let most = held + FILES_BESIDE + host.servers.len() * 7;
    let open = sim::disk().files_open();
    assert!(open <= most, "{open} files are open, {held} are held");
}

/// After a clean stop.
pub async fn check_stopped(host: &Host, is_complete: bool) {
    // The answers to batches that were handed to other shards are on their way.
    let until = runtime::now() + ANSWERS_AFTER_MAX;
    let is_pending = || host.servers.iter().any(|server| server.shard.log.pending_bytes() > 0);
    while is_pending() && runtime::now() < until {
        runtime::sleep(Duration::from_micros(20)).await;
    }
    for server in &host.servers {
        let pending = server.shard.log.pending_bytes();
        assert_eq!(pending, 0, "bytes are pending after a stop");
    }
    let held: usize = host.servers.iter().map(|server| server.shard.log.files_held()).sum();
    let open = sim::disk().files_open();
    let most = FILES_BESIDE + host.servers.len() * 3;
    assert!(!is_complete || open <= most, "{open} files are open after a stop, {held} held");
}
