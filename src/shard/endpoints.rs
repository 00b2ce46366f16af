//! The brokers as clients see them: which broker id and address stand for which shard.
//!
//! With per-core endpoints every shard is a broker of its own, beside the common port; with shared ones,
//! or with a single shard, the host is one broker on the common port. Plain values, built once the ports
//! are bound, equal on all shards.

use super::image::{MetadataImage, PartitionPlace};
use super::request::PartitionKey;
use crate::config::{Config, Endpoints as Mode};
use crate::limits::SHARDS_MAX;
use crate::types::ShardId;
use std::net::{IpAddr, SocketAddr};

/// A broker, as a response lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub id: i32,
    pub host: String,
    pub port: u16,
    /// The host that its cores share, so that clients see which brokers fail together.
    pub rack: Option<String>,
}

/// Who is who for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    node_id: i32,
    shards: u16,
    per_core: bool,
    /// None: the address that the client reached (the broker listens on a wildcard).
    host: Option<String>,
    /// As advertised: one for each broker.
    ports: Vec<u16>,
    /// As bound.
    common_port: u16,
}

impl Endpoints {
    /// Whether each shard listens on a port of its own, beside the common one.
    pub fn is_per_core(config: &Config, shards: u16) -> bool {
        config.endpoints == Mode::PerCore && shards > 1
    }

    /// The port that a shard binds for itself; 0 lets the kernel choose. None without such a port, or
    /// when it would lie beyond 65535.
    pub fn port_to_bind(config: &Config, shards: u16, shard: ShardId) -> Option<u16> {
        if !Self::is_per_core(config, shards) {
            return None;
        }
        match config.listen.port {
            0 => Some(0),
            base => base.checked_add(1)?.checked_add(shard.0),
        }
    }

    /// The endpoints after binding: the common port, and with per-core endpoints the port of each shard.
    ///
    /// # Panics
    /// When the number of ports does not fit the mode: the caller's fault.
    pub fn new(config: &Config, shards: u16, common: u16, per_shard: &[u16]) -> Endpoints {
        let per_core = Self::is_per_core(config, shards);
        assert!(usize::from(shards) <= SHARDS_MAX && shards > 0);
        assert_eq!(per_shard.len(), if per_core { usize::from(shards) } else { 0 });
        let advertised = config.advertise.as_ref().and_then(|advertise| advertise.port);
        let ports = match (per_core, advertised) {
            (true, None) => per_shard.to_vec(),
            // The ports behind an advertised one follow it as those behind `listen` do.
            (true, Some(base)) => (0..shards).map(|shard| base.wrapping_add(1 + shard)).collect(),
            (false, advertised) => vec![advertised.unwrap_or(common)],
        };
        let node_id = i32::try_from(config.node_id).expect("bounded by config");
        let host = host_of(config);
        Endpoints { node_id, shards, per_core, host, ports, common_port: common }
    }

    /// The broker that serves a shard's partitions.
    pub fn broker_of(&self, shard: ShardId) -> i32 {
        if self.per_core {
            self.node_id * SHARDS_MAX as i32 + i32::from(shard.0)
        } else {
            self.node_id
        }
    }

    /// The broker that leads a partition, as an image says: the one that serves its owner's, or none while nobody can
    /// be served from it.
    pub fn leader_of(
        &self,
        image: &MetadataImage,
        key: PartitionKey,
        place: &PartitionPlace,
    ) -> Option<i32> {
        (!image.is_offline(key)).then(|| self.broker_of(place.shard))
    }

    /// Whether a client that reached this port talks to one core, as to a broker of its own.
    pub fn is_own_port(&self, port: u16) -> bool {
        self.per_core && port != self.common_port
    }

    pub fn controller_id(&self) -> i32 {
        self.broker_of(ShardId::CONTROLLER)
    }

    /// The shard that a broker id names; any will do (`None` within) when one broker stands for all.
    pub fn shard_of(&self, broker: i32) -> Option<Option<ShardId>> {
        if !self.per_core {
            return (broker == self.node_id).then_some(None);
        }
        let shard = broker.checked_sub(self.broker_of(ShardId(0)))?;
        let shard = u16::try_from(shard).ok().filter(|shard| *shard < self.shards)?;
        Some(Some(ShardId(shard)))
    }

    /// All brokers, for a client that reached the broker at `local`.
    pub fn brokers(&self, local: SocketAddr) -> Vec<Broker> {
        let host = self.host.clone().unwrap_or_else(|| reached(local.ip()));
        let broker = |(index, port): (usize, &u16)| Broker {
            id: self.broker_of(ShardId(index as u16)),
            host: host.clone(),
            port: *port,
            rack: self.per_core.then(|| host.clone()),
        };
        self.ports.iter().enumerate().map(broker).collect()
    }
}

/// The address without the IPv4-in-IPv6 form that a dual-stack socket shows.
fn reached(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

fn host_of(config: &Config) -> Option<String> {
    if let Some(advertise) = &config.advertise {
        return Some(advertise.host.clone());
    }
    let host = &config.listen.host;
    let is_wildcard = host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
    (!is_wildcard).then(|| host.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostPort;

    fn local() -> SocketAddr {
        "10.1.2.3:9092".parse().unwrap()
    }

    fn config(mode: Mode, listen: &str, advertise: Option<&str>) -> Config {
        Config {
            endpoints: mode,
            listen: listen.parse::<HostPort>().unwrap(),
            advertise: advertise.map(|text| text.parse().unwrap()),
            node_id: 3,
            ..Config::default()
        }
    }

    #[test]
    fn per_core_shards_are_brokers_of_their_own() {
        let config = config(Mode::PerCore, "127.0.0.1:9092", None);
        let ports: Vec<u16> = (0..2)
            .map(|shard| Endpoints::port_to_bind(&config, 2, ShardId(shard)).unwrap())
            .collect();
        assert_eq!(ports, [9093, 9094]);
        let endpoints = Endpoints::new(&config, 2, 9092, &ports);
        let brokers = endpoints.brokers(local());
        let seen: Vec<_> = brokers.iter().map(|b| (b.id, b.host.as_str(), b.port)).collect();
        assert_eq!(seen, [(3072, "127.0.0.1", 9093), (3073, "127.0.0.1", 9094)]);
        assert_eq!(brokers[0].rack.as_deref(), Some("127.0.0.1"));
        assert_eq!(endpoints.controller_id(), 3072);
        assert_eq!(endpoints.shard_of(3073), Some(Some(ShardId(1))));
        assert_eq!(endpoints.shard_of(3074), None);
        assert_eq!(endpoints.shard_of(i32::MIN), None);
    }

    #[test]
    fn one_shard_or_one_port_is_one_broker() {
        for (mode, shards) in [(Mode::PerCore, 1), (Mode::Shared, 4)] {
            let config = config(mode, "0.0.0.0:9092", None);
            assert_eq!(Endpoints::port_to_bind(&config, shards, ShardId(0)), None);
            let endpoints = Endpoints::new(&config, shards, 9092, &[]);
            let brokers = endpoints.brokers(local());
            assert_eq!(brokers.len(), 1);
            assert_eq!((brokers[0].id, brokers[0].port), (3, 9092));
            assert_eq!((brokers[0].host.as_str(), &brokers[0].rack), ("10.1.2.3", &None));
            assert_eq!(endpoints.broker_of(ShardId(3)), 3);
        }
    }

    #[test]
    fn an_advertised_address_replaces_host_and_ports() {
        let config = config(Mode::PerCore, "0.0.0.0:9092", Some("b.example:19092"));
        let brokers = Endpoints::new(&config, 2, 9092, &[9093, 9094]).brokers(local());
        let seen: Vec<_> = brokers.iter().map(|b| (b.host.as_str(), b.port)).collect();
        assert_eq!(seen, [("b.example", 19093), ("b.example", 19094)]);
    }

    #[test]
    fn a_dual_stack_address_is_shown_as_ipv4() {
        let config = config(Mode::Shared, "[::]:9092", None);
        let endpoints = Endpoints::new(&config, 1, 9092, &[]);
        let brokers = endpoints.brokers("[::ffff:10.0.0.7]:9092".parse().unwrap());
        assert_eq!(brokers[0].host, "10.0.0.7");
    }
}
