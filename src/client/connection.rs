//! One connection to one broker: requests are pipelined, answers come back in their order.
//!
//! A single task moves the bytes of both directions. When it ends, by a fault or because the last handle
//! was dropped, every request in flight fails with the reason.

use super::error::ClientError;
use crate::limits::{FRAME_BYTES_MAX, REQUESTS_IN_FLIGHT_MAX, SEND_SLICES_MAX};
use crate::runtime::{self, Stream};
use crate::runtime::{Event, Filler, slot};
use crate::wire::api::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::{ApiKey, Encoder, ErrorCode, Message, Request, Str};
use crate::wire::{decode_response, header::RequestHeader};
use bytes::{Buf, Bytes, BytesMut};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Slices in one send: enough for several produce requests of many batches.
const WRITE_SLICES_MAX: usize = 64;
const _: () = assert!(WRITE_SLICES_MAX <= SEND_SLICES_MAX);

/// Least and most bytes that one read asks for.
const READ_BYTES_MIN: usize = 16 * 1024;
const READ_BYTES_MAX: usize = 1024 * 1024;

/// Reads and writes in a row before other tasks get their turn.
const TURNS_MAX: usize = 16;

/// The first version whose request names the client's software (KIP-511).
const API_VERSIONS_VERSION: i16 = 3;

/// A handle to the connection; the last one dropped closes it.
#[derive(Debug)]
pub struct Connection {
    shared: Rc<Shared>,
    versions: HashMap<i16, (i16, i16)>,
}

#[derive(Debug)]
struct Shared {
    address: String,
    client_id: Str,
    stream: Stream,
    outgoing: RefCell<VecDeque<Bytes>>,
    /// Requests without an answer yet, the oldest first.
    pending: RefCell<VecDeque<Pending>>,
    incoming: RefCell<BytesMut>,
    correlation_id: Cell<i32>,
    closed: RefCell<Option<ClientError>>,
    /// Of the task that moves the bytes.
    mover: RefCell<Option<Waker>>,
    /// A request was answered, or bytes were sent.
    progress: Event,
}

#[derive(Debug)]
struct Pending {
    correlation_id: i32,
    api: ApiKey,
    filler: Filler<Result<Bytes, ClientError>>,
}

impl Connection {
    /// Connects and learns which versions the broker speaks.
    ///
    /// # Errors
    /// `Connect`, or whatever fails in the first exchange.
    pub async fn open(
        address: SocketAddr,
        name: &str,
        client_id: &Str,
        limit: Duration,
    ) -> Result<Connection, ClientError> {
        let failed = |reason: String| ClientError::Connect { address: name.to_string(), reason };
        let stream = runtime::timeout(limit, Stream::connect(address))
            .await
            .unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| failed(error.to_string()))?;
        let shared = Rc::new(Shared {
            address: name.to_string(),
            client_id: client_id.clone(),
            stream,
            outgoing: RefCell::default(),
            pending: RefCell::default(),
            incoming: RefCell::default(),
            correlation_id: Cell::new(0),
            closed: RefCell::default(),
            mover: RefCell::default(),
            progress: Event::default(),
        });
        let mover = shared.clone();
        drop(runtime::spawn(async move {
            poll_fn(|context| mover.poll_move(context)).await;
        }));
        let mut connection = Connection { shared, versions: HashMap::new() };
        connection.versions = connection.negotiate(limit).await?;
        Ok(connection)
    }

    /// By api key, the versions that the broker speaks.
    async fn negotiate(&self, limit: Duration) -> Result<HashMap<i16, (i16, i16)>, ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: Str::from_static("corelog"),
            client_software_version: Str::from_static(env!("CARGO_PKG_VERSION")),
            ..Default::default()
        };
        let mut version = API_VERSIONS_VERSION;
        let response: ApiVersionsResponse = loop {
            let frame = self.exchange(&request, version, Vec::new(), limit).await?;
            // KIP-511: a broker that does not know the version says so in version 0.
            let code = frame.get(4..6).map_or(0, |code| i16::from_be_bytes([code[0], code[1]]));
            if code == ErrorCode::UnsupportedVersion.to_i16() && version > 0 {
                version = 0;
                continue;
            }
            break self.decode::<ApiVersionsRequest>(frame, version)?;
        };
        ClientError::check(response.error_code, None, || {
            format!("ApiVersions at {}", self.address())
        })?;
        let versions = response.api_keys.iter();
        Ok(versions.map(|api| (api.api_key, (api.min_version, api.max_version))).collect())
    }

    pub fn address(&self) -> &str {
        &self.shared.address
    }

    pub fn is_closed(&self) -> bool {
        self.shared.closed.borrow().is_some()
    }

    /// The newest version of an API that both sides speak, at most `version_max`.
    ///
    /// # Errors
    /// `Unsupported` when there is none.
    pub fn version<R: Request>(&self, version_max: i16) -> Result<i16, ClientError> {
        let unsupported =
            || ClientError::Unsupported { address: self.address().to_string(), api: R::KEY };
        let (min, max) = self.versions.get(&R::KEY.to_i16()).ok_or_else(unsupported)?;
        let ours = <R as Message>::VERSIONS;
        let newest = (*max).min(*ours.end()).min(version_max);
        if newest >= (*min).max(*ours.start()) { Ok(newest) } else { Err(unsupported()) }
    }

    /// Asks, in the newest version that both speak.
    ///
    /// # Errors
    /// When the connection fails, or no answer comes within `limit`: then the connection is closed, because
    /// a late answer would hold up all others.
    pub async fn call<R: Request>(
        &self,
        request: &R,
        limit: Duration,
    ) -> Result<R::Response, ClientError> {
        let version = self.version::<R>(i16::MAX)?;
        self.call_version(request, version, Vec::new(), limit).await
    }

    /// As `call`, in this version; `records` are the bytes of the request's external records, in order.
    pub async fn call_version<R: Request>(
        &self,
        request: &R,
        version: i16,
        records: Vec<Bytes>,
        limit: Duration,
    ) -> Result<R::Response, ClientError> {
        let frame = self.exchange(request, version, records, limit).await?;
        self.decode::<R>(frame, version)
    }

    /// Sends a request that is never answered (produce with acks=0); returns when it has left.
    pub async fn send_unanswered<R: Request>(
        &self,
        request: &R,
        version: i16,
        records: Vec<Bytes>,
    ) -> Result<(), ClientError> {
        self.enqueue(request, version, records)?;
        loop {
            let seen = self.shared.progress.count();
            self.check_open()?;
            if self.shared.outgoing.borrow().is_empty() {
                return Ok(());
            }
            self.shared.progress.after(seen).await;
        }
    }

    async fn exchange<R: Request>(
        &self,
        request: &R,
        version: i16,
        records: Vec<Bytes>,
        limit: Duration,
    ) -> Result<Bytes, ClientError> {
        while self.shared.pending.borrow().len() >= REQUESTS_IN_FLIGHT_MAX {
            let seen = self.shared.progress.count();
            self.check_open()?;
            self.shared.progress.after(seen).await;
        }
        let correlation_id = self.enqueue(request, version, records)?;
        let (filler, answer) = slot();
        let pending = Pending { correlation_id, api: R::KEY, filler };
        self.shared.pending.borrow_mut().push_back(pending);
        match runtime::timeout(limit, answer).await {
            Some(Some(answer)) => answer,
            Some(None) => Err(self.disconnected("it was closed")),
            None => {
                let address = self.address().to_string();
                let error = ClientError::Timeout { address, api: R::KEY, limit };
                self.shared.close(error.clone());
                Err(error)
            }
        }
    }

    /// Hands a request to the mover; requests leave in the order of these calls.
    fn enqueue<R: Request>(
        &self,
        request: &R,
        version: i16,
        records: Vec<Bytes>,
    ) -> Result<i32, ClientError> {
        self.check_open()?;
        let correlation_id = self.shared.correlation_id.get();
        self.shared.correlation_id.set(correlation_id.wrapping_add(1) & i32::MAX);
        let header = RequestHeader {
            api_key: R::KEY,
            api_version: version,
            correlation_id,
            client_id: Some(self.shared.client_id.clone()),
        };
        let mut encoder = Encoder::new();
        encoder.begin_frame();
        header.encode(&mut encoder);
        request.encode(&mut encoder, version);
        encoder.end_frame();
        if encoder.length() > FRAME_BYTES_MAX {
            let bytes = encoder.length();
            return Err(ClientError::Invalid(format!("a {} request of {bytes} bytes", R::KEY)));
        }
        self.shared.outgoing.borrow_mut().extend(encoder.into_pieces(records));
        self.shared.wake_mover();
        Ok(correlation_id)
    }

    fn decode<R: Request>(&self, frame: Bytes, version: i16) -> Result<R::Response, ClientError> {
        let decoded = decode_response::<R>(frame, version);
        decoded.map(|(_, response)| response).map_err(|error| ClientError::Protocol {
            address: self.address().to_string(),
            api: R::KEY,
            reason: format!("version {version}: {error}"),
        })
    }

    fn check_open(&self) -> Result<(), ClientError> {
        self.shared.closed.borrow().clone().map_or(Ok(()), Err)
    }

    fn disconnected(&self, reason: &str) -> ClientError {
        self.shared.disconnected(reason)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.close(self.disconnected("it was closed"));
    }
}

impl Shared {
    fn disconnected(&self, reason: &str) -> ClientError {
        ClientError::Disconnected { address: self.address.clone(), reason: reason.to_string() }
    }

    fn wake_mover(&self) {
        if let Some(waker) = self.mover.take() {
            waker.wake();
        }
    }

    /// The first reason stays; every request in flight fails with it.
    fn close(&self, reason: ClientError) {
        if self.closed.borrow().is_some() {
            return;
        }
        *self.closed.borrow_mut() = Some(reason.clone());
        self.outgoing.borrow_mut().clear();
        let pending = self.pending.take();
        for request in pending {
            request.filler.fill(Err(reason.clone()));
        }
        self.stream.shutdown();
        self.progress.notify();
        self.wake_mover();
    }

    /// Moves bytes both ways until the connection is closed.
    fn poll_move(&self, context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURNS_MAX {
            if self.closed.borrow().is_some() {
                return Poll::Ready(());
            }
            let moved = self
                .poll_write(context)
                .and_then(|wrote| self.poll_read(context).map(|read| wrote || read));
            match moved {
                Ok(true) => {}
                Ok(false) => {
                    *self.mover.borrow_mut() = Some(context.waker().clone());
                    return Poll::Pending;
                }
                Err(error) => self.close(error),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether anything was sent.
    fn poll_write(&self, context: &mut Context<'_>) -> Result<bool, ClientError> {
        let mut outgoing = self.outgoing.borrow_mut();
        if outgoing.is_empty() {
            return Ok(false);
        }
        let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
        let count = outgoing.len().min(WRITE_SLICES_MAX);
        for (slice, bytes) in slices.iter_mut().zip(outgoing.iter()) {
            *slice = IoSlice::new(bytes);
        }
        let mut sent = match self.stream.poll_write_vectored(context, &slices[..count]) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(sent)) => sent,
            Poll::Ready(Err(error)) => return Err(self.disconnected(&error.to_string())),
        };
        while sent > 0 {
            let first = outgoing.front_mut().expect("no more was sent than there was");
            let taken = first.len().min(sent);
            first.advance(taken);
            sent -= taken;
            if first.is_empty() {
                outgoing.pop_front();
            }
        }
        drop(outgoing);
        self.progress.notify();
        Ok(true)
    }

    /// Whether anything arrived.
    fn poll_read(&self, context: &mut Context<'_>) -> Result<bool, ClientError> {
        let mut incoming = self.incoming.borrow_mut();
        let wanted = match incoming.first_chunk::<4>() {
            Some(length) => {
                (u32::from_be_bytes(*length) as usize + 4).saturating_sub(incoming.len())
            }
            None => 0,
        };
        let limit = wanted.clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        match self.stream.poll_read(context, &mut incoming, limit) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(0)) => return Err(self.disconnected("the broker closed it")),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Err(self.disconnected(&error.to_string())),
        }
        while let Some(frame) = self.next_frame(&mut incoming)? {
            self.answer(frame)?;
        }
        Ok(true)
    }

    fn next_frame(&self, incoming: &mut BytesMut) -> Result<Option<Bytes>, ClientError> {
        let Some(length) = incoming.first_chunk::<4>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        let bytes =
            usize::try_from(length).ok().filter(|bytes| (4..=FRAME_BYTES_MAX).contains(bytes));
        let Some(bytes) = bytes else {
            return Err(self.disconnected(&format!("a response frame of {length} bytes")));
        };
        if incoming.len() < 4 + bytes {
            return Ok(None);
        }
        incoming.advance(4);
        Ok(Some(incoming.split_to(bytes).freeze()))
    }

    fn answer(&self, frame: Bytes) -> Result<(), ClientError> {
        let got = frame.first_chunk::<4>().map(|id| i32::from_be_bytes(*id));
        let Some(oldest) = self.pending.borrow_mut().pop_front() else {
            return Err(self.disconnected("an answer that nobody asked for"));
        };
        if got != Some(oldest.correlation_id) {
            let error = ClientError::Protocol {
                address: self.address.clone(),
                api: oldest.api,
                reason: format!("correlation id {got:?} for {}", oldest.correlation_id),
            };
            oldest.filler.fill(Err(error.clone()));
            return Err(error);
        }
        oldest.filler.fill(Ok(frame));
        self.progress.notify();
        Ok(())
    }
}
