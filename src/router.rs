//! The fork: a frame becomes a request; produce and fetch go the hot way, everything else to the control
//! plane. Lives on the connection's core; waits for nothing.

use crate::control_plane::{ConnectionInfo, ControlPlane};
use crate::data_plane::fetch::{self, Asker};
use crate::data_plane::produce::{self, ProduceInFlight};
use crate::data_plane::{AnswerBudget, Response, SessionCache};
use crate::shard::Shard;
use crate::shard::quotas::Meter;
use crate::wire::api::{FetchRequest, ProduceRequest};
use crate::wire::{ApiKey, Decoder, ErrorCode, RequestHeader, WireError};
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// What requests of one core are answered with.
#[derive(Clone)]
pub struct Services {
    pub shard: Rc<Shard>,
    pub control: Rc<ControlPlane>,
    pub sessions: Rc<SessionCache>,
    pub answers: Rc<AnswerBudget>,
    /// Bytes that one fetch answers with at most.
    pub fetch_bytes_max: usize,
}

/// Why a request ends its connection.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("{key} version {version} is not served")]
    Version { key: ApiKey, version: i16 },
    #[error("a produce with acks=0 failed with {0}")]
    Silent(ErrorCode),
}

type Later = Pin<Box<dyn Future<Output = Result<Response, Refusal>>>>;

/// A request that was started, and of which API it is.
pub struct Routed {
    pub key: ApiKey,
    pub answer: InFlight,
}

/// A request whose answer is awaited.
pub enum InFlight {
    Produce(ProduceInFlight),
    /// Starts when it is first polled: when its turn to answer comes.
    Later(Later),
    /// Of a client that has quotas.
    Metered(Rc<Meter>, Box<InFlight>),
}

impl InFlight {
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Response, Refusal>> {
        match self {
            InFlight::Produce(produce) => produce.poll_produced(context).map_err(Refusal::Silent),
            InFlight::Later(future) => future.as_mut().poll(context),
            InFlight::Metered(meter, answer) => {
                let polled = meter.work(|| answer.poll(context));
                polled.map_ok(|response| Response { pause: meter.end(), ..response })
            }
        }
    }

    /// It starts when its turn to answer comes, and may wait for something then.
    pub fn is_later(&self) -> bool {
        match self {
            InFlight::Produce(_) => false,
            InFlight::Later(_) => true,
            InFlight::Metered(_, answer) => answer.is_later(),
        }
    }
}

/// Decodes a request and starts it.
///
/// # Errors
/// The request cannot be read or is not served: the connection closes.
pub fn route(
    services: &Services,
    frame: Bytes,
    connection: ConnectionInfo,
) -> Result<Routed, Refusal> {
    let mut decoder = Decoder::new(frame);
    let header = RequestHeader::decode(&mut decoder)?;
    let key = header.api_key;
    let Some(meter) = services.shard.meter(header.client_id.as_deref()) else {
        let answer = start(services, header, decoder, connection, None)?;
        return Ok(Routed { key, answer });
    };
    let started = meter.work(|| start(services, header, decoder, connection, Some(meter.clone())));
    Ok(Routed { key, answer: InFlight::Metered(meter, Box::new(started?)) })
}

fn start(
    services: &Services,
    header: RequestHeader,
    mut decoder: Decoder,
    connection: ConnectionInfo,
    meter: Option<Rc<Meter>>,
) -> Result<InFlight, Refusal> {
    let (key, version) = (header.api_key, header.api_version);
    // ApiVersions answers whatever version it is asked in (KIP-511).
    if !key.supports(version) && key != ApiKey::ApiVersions {
        return Err(Refusal::Version { key, version });
    }
    let answer = match key {
        ApiKey::Produce => {
            let request = ProduceRequest::decode(&mut decoder, version)?;
            let (shard, local) = (&services.shard, connection.local);
            InFlight::Produce(produce::dispatch(shard, &header, request, meter, local))
        }
        ApiKey::Fetch => {
            let request = FetchRequest::decode(&mut decoder, version)?;
            let (shard, sessions) = (services.shard.clone(), services.sessions.clone());
            let (answers, limit) = (services.answers.clone(), services.fetch_bytes_max);
            let asker = Asker { header, local: connection.local };
            InFlight::Later(Box::pin(async move {
                let meter = meter.as_deref();
                Ok(fetch::fetch(shard, sessions, answers, asker, request, limit, meter).await)
            }))
        }
        _ => {
            let control = services.control.clone();
            InFlight::Later(Box::pin(async move {
                let meter = meter.as_deref();
                let encoder = control.handle(header, decoder, connection, meter).await?;
                Ok(Response::encoded(encoder))
            }))
        }
    };
    Ok(answer)
}
