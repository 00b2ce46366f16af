//! The cluster as this client knows it: brokers, who leads what, and a connection to each that is used.

use super::TopicPartition;
use super::connection::Connection;
use super::error::ClientError;
use crate::runtime::{self, Instant};
use crate::types::TopicId;
use crate::wire::api::metadata::{MetadataRequestTopic, MetadataResponseTopic};
use crate::wire::api::{MetadataRequest, MetadataResponse};
use crate::wire::{ErrorCode, Request, Str};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

/// Where a broker listens; the host is a name or an address without brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Tried in turn until one answers.
    pub bootstrap: Vec<Address>,
    /// What brokers see in their logs and quotas.
    pub client_id: String,
    pub connect_limit: Duration,
    /// How long one request may take.
    pub request_limit: Duration,
    /// How long an operation is retried.
    pub operation_limit: Duration,
    /// Pause before a retry.
    pub retry_pause: Duration,
    /// Metadata is asked for again when it is this old.
    pub metadata_age_max: Duration,
    /// Whether asking for a missing topic may make it, where the broker does that.
    pub create_topics: bool,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            bootstrap: vec![Address { host: "127.0.0.1".to_string(), port: 9092 }],
            client_id: "corelog".to_string(),
            connect_limit: Duration::from_secs(10),
            request_limit: Duration::from_secs(30),
            operation_limit: Duration::from_mins(1),
            retry_pause: Duration::from_millis(100),
            metadata_age_max: Duration::from_mins(5),
            create_topics: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub id: i32,
    pub address: Address,
    pub rack: Option<String>,
}

impl Broker {
    /// As an answer lists it.
    pub(super) fn listed(id: i32, host: &str, port: i32, rack: Option<&str>) -> Broker {
        let port = u16::try_from(port).unwrap_or(0);
        let address = Address { host: host.to_string(), port };
        Broker { id, address, rack: rack.map(str::to_string) }
    }
}

#[derive(Clone, Debug)]
pub struct Topic {
    pub name: Str,
    /// Zero where brokers do not say (before Kafka 2.8).
    pub id: TopicId,
    pub is_internal: bool,
    /// By index, without gaps unless the broker's answer had them.
    pub partitions: Vec<Partition>,
    pub known_since: Instant,
}

#[derive(Clone, Debug)]
pub struct Partition {
    pub index: i32,
    /// None while there is none.
    pub leader: Option<i32>,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
    pub offline: Vec<i32>,
    pub error: ErrorCode,
}

#[derive(Clone, Debug, Default)]
pub struct Metadata {
    pub cluster_id: Option<String>,
    pub controller_id: Option<i32>,
    pub brokers: BTreeMap<i32, Broker>,
    pub topics: HashMap<Str, Topic>,
}

/// A cluster. Clones are the same client.
#[derive(Clone)]
pub struct Client(Rc<Inner>);

struct Inner {
    options: ClientOptions,
    client_id: Str,
    metadata: RefCell<Metadata>,
    brokers: RefCell<HashMap<i32, Rc<Connection>>>,
    /// The one through which the cluster was found.
    bootstrap: RefCell<Option<Rc<Connection>>>,
}

impl Client {
    pub fn new(options: ClientOptions) -> Client {
        Client(Rc::new(Inner {
            client_id: Str::from(options.client_id.as_str()),
            options,
            metadata: RefCell::default(),
            brokers: RefCell::default(),
            bootstrap: RefCell::default(),
        }))
    }

    pub fn options(&self) -> &ClientOptions {
        &self.0.options
    }

    /// Looks something up in what is known now.
    pub fn metadata<T>(&self, look: impl FnOnce(&Metadata) -> T) -> T {
        look(&self.0.metadata.borrow())
    }

    /// A connection to this broker.
    ///
    /// # Errors
    /// `Connect`; `NoLeader` when the metadata does not have the broker.
    pub async fn broker(&self, id: i32) -> Result<Rc<Connection>, ClientError> {
        if let Some(connection) = self.open_broker(id) {
            return Ok(connection);
        }
        let broker = self.metadata(|metadata| metadata.brokers.get(&id).cloned());
        let what = || format!("broker {id}, which is not in the cluster's metadata,");
        let broker = broker.ok_or_else(|| ClientError::NoLeader { what: what() })?;
        let connection = Rc::new(self.open(&broker.address).await?);
        // Another task may have been faster; requests to one broker share one connection.
        if let Some(connection) = self.open_broker(id) {
            return Ok(connection);
        }
        self.0.brokers.borrow_mut().insert(id, connection.clone());
        Ok(connection)
    }

    fn open_broker(&self, id: i32) -> Option<Rc<Connection>> {
        let mut brokers = self.0.brokers.borrow_mut();
        match brokers.get(&id) {
            Some(connection) if !connection.is_closed() => Some(connection.clone()),
            Some(_) => {
                brokers.remove(&id);
                None
            }
            None => None,
        }
    }

    /// A connection to whichever broker answers.
    ///
    /// # Errors
    /// That of the last address, when none does.
    pub async fn any(&self) -> Result<Rc<Connection>, ClientError> {
        if let Some(connection) = self.open_any() {
            return Ok(connection);
        }
        let known = self.metadata(|metadata| {
            metadata.brokers.values().map(|broker| broker.address.clone()).collect::<Vec<_>>()
        });
        let mut last = ClientError::Invalid("no bootstrap server was given".to_string());
        for address in self.0.options.bootstrap.iter().chain(&known) {
            match self.open(address).await {
                Ok(connection) => {
                    let connection = Rc::new(connection);
                    *self.0.bootstrap.borrow_mut() = Some(connection.clone());
                    return Ok(connection);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn open_any(&self) -> Option<Rc<Connection>> {
        let brokers = self.0.brokers.borrow();
        let bootstrap = self.0.bootstrap.borrow();
        let mut all = brokers.values().chain(bootstrap.iter());
        all.find(|connection| !connection.is_closed()).cloned()
    }

    async fn open(&self, address: &Address) -> Result<Connection, ClientError> {
        let name = address.to_string();
        let mut last = "the name has no address".to_string();
        let failed = |reason: String| ClientError::Connect { address: name.clone(), reason };
        for resolved in resolve(address).map_err(|error| failed(error.to_string()))? {
            let limit = self.0.options.connect_limit;
            match Connection::open(resolved, &name, &self.0.client_id, limit).await {
                Err(ClientError::Connect { reason, .. }) => last = reason,
                opened => return opened,
            }
        }
        Err(failed(last))
    }

    /// Asks whichever broker answers, again while that may help.
    pub async fn call_any<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        let limit = self.0.options.request_limit;
        self.retry(R::KEY.name(), async || self.any().await?.call(request, limit).await).await
    }

    /// Asks the controller, or any broker where none is named: in KRaft each forwards.
    pub async fn call_controller<R: Request>(
        &self,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        let limit = self.0.options.request_limit;
        if self.metadata(|metadata| metadata.brokers.is_empty()) {
            self.refresh(&[]).await?;
        }
        self.retry(R::KEY.name(), async || {
            let controller = self.metadata(|metadata| metadata.controller_id);
            let connection = match controller {
                Some(id) => self.broker(id).await?,
                None => self.any().await?,
            };
            connection.call(request, limit).await
        })
        .await
    }

    /// Tries until it succeeds, fails for good, or the operation's time is over.
    pub async fn retry<T>(
        &self,
        what: &str,
        mut attempt: impl AsyncFnMut() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let limit = self.0.options.operation_limit;
        let deadline = runtime::now() + limit;
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if !error.is_retriable() {
                return Err(error);
            }
            if runtime::now() + self.0.options.retry_pause >= deadline {
                let what = what.to_string();
                return Err(ClientError::Expired { what, limit, cause: Some(Box::new(error)) });
            }
            runtime::sleep(self.0.options.retry_pause).await;
        }
    }

    /// Asks for the brokers, and for these topics; what is known of others stays.
    ///
    /// # Errors
    /// When no broker answers. What is wrong with a topic is in the result: its error code.
    pub async fn refresh(&self, topics: &[Str]) -> Result<Vec<(Str, ErrorCode)>, ClientError> {
        let wanted = topics
            .iter()
            .map(|name| MetadataRequestTopic { topic_id: TopicId::ZERO, name: Some(name.clone()) });
        let request = MetadataRequest {
            topics: Some(wanted.collect()),
            allow_auto_topic_creation: self.0.options.create_topics,
            ..Default::default()
        };
        Ok(self.adopt(self.call_any(&request).await?))
    }

    /// Asks for everything.
    pub async fn refresh_all(&self) -> Result<Vec<(Str, ErrorCode)>, ClientError> {
        let request = MetadataRequest {
            topics: None,
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        Ok(self.adopt(self.call_any(&request).await?))
    }

    fn adopt(&self, response: MetadataResponse) -> Vec<(Str, ErrorCode)> {
        let now = runtime::now();
        let mut codes = Vec::new();
        let mut metadata = self.0.metadata.borrow_mut();
        if !response.brokers.is_empty() {
            let brokers = response.brokers.iter().map(|node| {
                Broker::listed(node.node_id, &node.host, node.port, node.rack.as_deref())
            });
            metadata.brokers = brokers.map(|broker| (broker.id, broker)).collect();
        }
        metadata.cluster_id = response.cluster_id.map(|id| id.to_string());
        metadata.controller_id = (response.controller_id >= 0).then_some(response.controller_id);
        for topic in response.topics {
            let name = topic.name.clone().unwrap_or_default().detached();
            codes.push((name.clone(), topic.error_code));
            if topic.error_code.is_none() {
                metadata.topics.insert(name.clone(), adopt_topic(name, topic, now));
            } else {
                metadata.topics.remove(&name);
            }
        }
        // A broker whose address changed is a new one.
        let brokers = &metadata.brokers;
        self.0.brokers.borrow_mut().retain(|id, connection| {
            brokers.get(id).is_some_and(|broker| broker.address.to_string() == connection.address())
        });
        codes
    }

    /// The topic, from what is known or from the cluster; waits for one that is being made.
    ///
    /// # Errors
    /// `Refused` when there is no such topic.
    pub async fn topic(&self, name: &Str) -> Result<Topic, ClientError> {
        let now = runtime::now();
        let age_max = self.0.options.metadata_age_max;
        let known = self.metadata(|metadata| metadata.topics.get(name).cloned());
        if let Some(topic) = known.filter(|topic| now.since(topic.known_since) < age_max) {
            return Ok(topic);
        }
        let deadline = now + self.0.options.operation_limit;
        let mut tries = 0;
        loop {
            let codes = self.refresh(std::slice::from_ref(name)).await?;
            let code = codes.first().map_or(ErrorCode::UnknownTopicOrPartition, |(_, code)| *code);
            let found = self.metadata(|metadata| metadata.topics.get(name).cloned());
            if let Some(topic) = found {
                return Ok(topic);
            }
            // Without creation a missing topic stays missing, save in the moment when a broker has not
            // yet heard of a new one.
            tries += 1;
            let is_missing = code == ErrorCode::UnknownTopicOrPartition;
            let is_hopeless = is_missing && !self.0.options.create_topics && tries == MISSING_TRIES;
            if !code.is_retriable() || is_hopeless || runtime::now() >= deadline {
                return Err(ClientError::refused(format!("topic {name}"), code));
            }
            runtime::sleep(self.0.options.retry_pause).await;
        }
    }

    /// Zero where it is not known.
    pub(super) fn topic_id(&self, name: &str) -> TopicId {
        self.metadata(|metadata| metadata.topics.get(name).map_or(TopicId::ZERO, |topic| topic.id))
    }

    pub(super) fn is_connected(&self, broker: i32) -> bool {
        self.open_broker(broker).is_some()
    }

    /// Until the next refresh, unless another than this broker leads by now: whoever needs the leader sees that it has
    /// to ask.
    pub fn forget_leader(&self, topic: &str, partition: i32, broker: i32) {
        let mut metadata = self.0.metadata.borrow_mut();
        let Some(topic) = metadata.topics.get_mut(topic) else { return };
        let mut all = topic.partitions.iter_mut();
        if let Some(found) = all.find(|found| found.index == partition)
            && found.leader == Some(broker)
        {
            found.leader = None;
        }
    }

    /// Takes up the leader, with its epoch, that a refusal tells (KIP-951), if that is news and it is known where that
    /// broker is; `named` are the brokers of the same answer.
    pub(super) fn follow(
        &self,
        partition: &TopicPartition,
        (leader, epoch): (i32, i32),
        named: &[Broker],
    ) {
        let mut metadata = self.0.metadata.borrow_mut();
        let Metadata { brokers, topics, .. } = &mut *metadata;
        let broker = named.iter().find(|broker| broker.id == leader);
        if broker.is_none() && !brokers.contains_key(&leader) {
            return;
        }
        let Some(topic) = topics.get_mut(&partition.topic) else { return };
        let mut all = topic.partitions.iter_mut();
        let Some(found) = all.find(|found| found.index == partition.partition) else { return };
        if epoch <= found.leader_epoch {
            return;
        }
        (found.leader, found.leader_epoch) = (Some(leader), epoch);
        let Some(broker) = broker else { return };
        // A broker whose address changed is a new one.
        let mut open = self.0.brokers.borrow_mut();
        let address = broker.address.to_string();
        if open.get(&leader).is_some_and(|connection| connection.address() != address) {
            open.remove(&leader);
        }
        brokers.insert(leader, broker.clone());
    }

    /// Who leads this partition, as far as is known.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        self.metadata(|metadata| {
            let partitions = &metadata.topics.get(topic)?.partitions;
            partitions.iter().find(|found| found.index == partition)?.leader
        })
    }
}

/// How often a topic that the cluster does not know is asked for.
const MISSING_TRIES: u32 = 3;

fn adopt_topic(name: Str, topic: MetadataResponseTopic, now: Instant) -> Topic {
    let mut partitions: Vec<Partition> = topic
        .partitions
        .into_iter()
        .map(|partition| Partition {
            index: partition.partition_index,
            leader: (partition.leader_id >= 0).then_some(partition.leader_id),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes,
            in_sync: partition.isr_nodes,
            offline: partition.offline_replicas,
            error: partition.error_code,
        })
        .collect();
    partitions.sort_by_key(|partition| partition.index);
    let is_internal = topic.is_internal;
    Topic { name, id: topic.topic_id, is_internal, partitions, known_since: now }
}

/// Looks a name up. This blocks the thread, as the system's resolver does; addresses do not.
fn resolve(address: &Address) -> std::io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = address.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, address.port)]);
    }
    Ok((address.host.as_str(), address.port).to_socket_addrs()?.collect())
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("options", &self.0.options).finish_non_exhaustive()
    }
}
