//! For tests: all shards of a host on one simulation, with their control planes.

use super::{ConnectionInfo, ControlPlane, Controller, StartError};
use crate::config::Config;
use crate::log::{LogOptions, ShardLog};
use crate::probe::Probe;
use crate::runtime;
use crate::shard::endpoints::Endpoints;
use crate::shard::{Shard, mailbox};
use crate::types::ShardId;
use crate::wire::{Decoder, Request, RequestHeader, decode_response};
use futures_util::future::join_all;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

pub const DATA: &str = "/data";

pub struct Host {
    pub shards: Vec<Rc<Shard>>,
    pub control_planes: Vec<Rc<ControlPlane>>,
}

/// Connected shards without a controller.
pub async fn shards(count: u16) -> Vec<Rc<Shard>> {
    runtime::create_directory_all(DATA.as_ref()).await.unwrap();
    let ends = mailbox::ends(usize::from(count)).into_iter();
    let connecting = (0..count).zip(ends).map(|(number, end)| async move {
        let options = LogOptions { shard: number, ..LogOptions::new(DATA.into()) };
        let log = ShardLog::new(options, Rc::new(Probe::default()));
        runtime::prepare_directory(DATA.as_ref()).await.unwrap();
        log.load_recovery_points().await.unwrap();
        log.start_writers();
        let shard = Shard::new(ShardId(number), count, log);
        mailbox::connect(&shard, end).await;
        shard
    });
    join_all(connecting).await
}

pub async fn try_start(count: u16, config: Config) -> Result<Host, StartError> {
    let host = start_unopened(count, config).await?;
    join_all(host.shards.iter().map(|shard| shard.opened_all())).await;
    Ok(host)
}

/// A host whose partitions may not be open yet.
pub async fn start_unopened(count: u16, config: Config) -> Result<Host, StartError> {
    let config = Arc::new(config);
    let shards = shards(count).await;
    Controller::start(&shards[0], &config).await?;
    let ports: Vec<u16> = (0..count).map(|shard| 9093 + shard).collect();
    let per_shard = if Endpoints::is_per_core(&config, count) { &ports[..] } else { &[] };
    let endpoints = Arc::new(Endpoints::new(&config, count, 9092, per_shard));
    let control_plane =
        |shard: &Rc<Shard>| ControlPlane::new(shard.clone(), config.clone(), endpoints.clone());
    let control_planes = shards.iter().map(control_plane).collect();
    Ok(Host { shards, control_planes })
}

pub async fn start(count: u16) -> Host {
    try_start(count, Config::default()).await.unwrap()
}

impl Host {
    /// Asks a shard as a client would, in a version.
    pub async fn call<R: Request>(&self, shard: usize, version: i16, request: R) -> R::Response {
        self.call_at(shard, 9092, version, request).await
    }

    /// The same, by the port that the client reached: 9092 is that of all shards, 9093 the first shard's own.
    pub async fn call_at<R: Request>(
        &self,
        shard: usize,
        port: u16,
        version: i16,
        request: R,
    ) -> R::Response {
        let mut e = crate::wire::Encoder::new();
        request.encode(&mut e, version);
        let header = RequestHeader {
            api_key: R::KEY,
            api_version: version,
            correlation_id: 7,
            client_id: None,
        };
        let local = SocketAddr::from(([127, 0, 0, 1], port));
        let connection = ConnectionInfo { peer: "127.0.0.1:5000".parse().unwrap(), local };
        let body = Decoder::new(e.out.freeze());
        let answer =
            self.control_planes[shard].clone().handle(header, body, connection, None).await;
        let frame = answer.expect("a sound request").out.freeze();
        let (correlation_id, response) =
            decode_response::<R>(frame.slice(4..), version).expect("a sound response");
        assert_eq!(correlation_id, 7);
        response
    }
}
