//! The admin port: what the broker's cores count, for Prometheus, whether they are well, which partitions are not,
//! and which keep them busy.
//!
//! Lives on shard 0, in the class of tasks that yields to the data path; asks the other shards by mailbox.
//! It only reads: nothing that arrives here changes anything. Whoever connects is not trusted: one short
//! request for each connection, a bounded number of them, each for a bounded time.
//!
//! - `stream`: hyper's view of the runtime's streams
//! - `families`: which metrics there are, and how each is read
//! - `exposition`: how they are written
//! - `faults`: the page of partitions that something is wrong with; `cores`: of cores and their hottest partitions

mod cores;
mod exposition;
pub mod families;
mod faults;
mod stream;

#[cfg(test)]
mod tests;

pub use exposition::Format;

use crate::limits::{
    ADMIN_CONNECTION_MAX, ADMIN_CONNECTIONS_MAX, ADMIN_FAULTS_MAX, ADMIN_HEADER_BYTES_MAX,
    ADMIN_HEADERS_MAX, ADMIN_HOT_PARTITIONS_MAX, ADMIN_PAGES_MAX, ADMIN_PARTITIONS_MAX,
    ADMIN_SHARD_WAIT_MAX,
};
use crate::runtime::{self, ListenOptions, Listener, Stream, Turn};
use crate::shard::Shard;
use crate::shard::request::{ShardReply, ShardRequest};
use crate::types::{ShardId, Timestamp};
use families::{HostReading, Scraped};
use futures_util::future::join_all;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use stream::{HttpStream, Whole};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 64;
/// How long the usual port may be taken before the broker goes without: a killed process's ring can hold its
/// socket a moment longer than the process lives.
const PORT_WAIT_MAX: Duration = Duration::from_secs(10);
const PORT_AGAIN: Duration = Duration::from_millis(100);
/// Pause after an accept that failed, say for want of descriptors.
const ACCEPT_RETRY_AFTER: Duration = Duration::from_millis(10);

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// What the admin port is made with.
#[derive(Clone, Debug)]
pub struct AdminOptions {
    pub data_directory: PathBuf,
    /// Partitions have metrics of their own.
    pub per_partition: bool,
}

/// The admin port of a host.
pub struct Admin {
    shard: Rc<Shard>,
    options: AdminOptions,
    started: Timestamp,
    connections: Cell<usize>,
    /// Of these, those that hold a page of metrics, faults or cores.
    pages: Cell<usize>,
    listener: RefCell<Option<Rc<Listener>>>,
    stopping: Cell<bool>,
    /// One such page is made at a time.
    scrapes: Turn,
}

impl Admin {
    /// `shard`: the one that it lives on.
    pub fn new(shard: Rc<Shard>, options: AdminOptions) -> Rc<Admin> {
        Rc::new(Admin {
            shard,
            options,
            started: runtime::wall_clock(),
            connections: Cell::new(0),
            pages: Cell::new(0),
            listener: RefCell::default(),
            stopping: Cell::new(false),
            scrapes: Turn::default(),
        })
    }

    /// Serves at an address that is held for this process already.
    ///
    /// # Errors
    /// As bind(2).
    pub fn serve_at(self: &Rc<Self>, address: SocketAddr) -> io::Result<()> {
        let listener = Listener::bind(address, ListenOptions { shared: true, backlog: BACKLOG })?;
        tell_address(&listener);
        drop(runtime::spawn_background(self.clone().accept_from(listener)));
        Ok(())
    }

    /// Serves at an address once it is free; where it is not for a while, never.
    pub async fn serve_if_free(self: Rc<Self>, address: SocketAddr) {
        let deadline = runtime::now() + PORT_WAIT_MAX;
        while !self.stopping.get() {
            match Listener::bind(address, ListenOptions { shared: false, backlog: BACKLOG }) {
                Ok(listener) => {
                    tell_address(&listener);
                    return self.accept_from(listener).await;
                }
                Err(error) if runtime::now() >= deadline => {
                    tracing::warn!(%address, %error,
                        "no admin port: set admin_listen to another address, or to none");
                    return;
                }
                Err(_) => runtime::sleep(PORT_AGAIN).await,
            }
        }
    }

    /// Refuses connections from here on.
    pub fn close(&self) {
        self.stopping.set(true);
        if let Some(listener) = self.listener.take() {
            listener.close();
        }
    }

    /// Connections that are served now.
    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    async fn accept_from(self: Rc<Self>, listener: Listener) {
        let listener = Rc::new(listener);
        *self.listener.borrow_mut() = Some(listener.clone());
        while !self.stopping.get() {
            match listener.accept().await {
                Ok(_) if self.connections.get() >= ADMIN_CONNECTIONS_MAX => {}
                Ok(stream) => drop(runtime::spawn_background(self.clone().serve(stream))),
                Err(_) if self.stopping.get() => return,
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection to the admin port");
                    runtime::sleep(ACCEPT_RETRY_AFTER).await;
                }
            }
        }
    }

    /// Answers the one request of a connection.
    async fn serve(self: Rc<Self>, stream: Stream) {
        self.connections.set(self.connections.get() + 1);
        let page = Page { admin: &self, is_held: Cell::new(false) };
        let answer =
            service_fn(async |request| Ok::<_, Infallible>(self.answer(&request, &page).await));
        let mut http = http1::Builder::new();
        // The clock is the runtime's, and what bounds a client's time is the limit below.
        http.auto_date_header(false).header_read_timeout(None).keep_alive(false);
        http.max_headers(ADMIN_HEADERS_MAX).max_buf_size(ADMIN_HEADER_BYTES_MAX);
        let connection = http.serve_connection(HttpStream::new(stream), answer);
        // How it ends is the client's business.
        let _ = runtime::timeout(ADMIN_CONNECTION_MAX, connection).await;
        self.connections.set(self.connections.get() - 1);
    }

    async fn answer(&self, request: &Request<Incoming>, page: &Page<'_>) -> Response<Whole> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only".into());
            refusal.headers_mut().insert(ALLOW, "GET, HEAD".parse().expect("a header's value"));
            return refusal;
        }
        match request.uri().path() {
            "/metrics" | "/faults" | "/cores" if !page.hold() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "too many clients take their time".into())
            }
            "/metrics" => {
                let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
                let format = Format::accepted(accept.unwrap_or_default());
                let metrics = self.metrics(format).await;
                response(StatusCode::OK, format.content_type(), metrics)
            }
            "/faults" => response(StatusCode::OK, JSON, self.faults().await),
            "/cores" => response(StatusCode::OK, JSON, self.cores().await),
            "/healthz" => verdict(self.health().await),
            "/readyz" => verdict(self.readiness().await),
            _ => {
                let line = "there are /metrics, /faults, /cores, /healthz and /readyz";
                text(StatusCode::NOT_FOUND, line.into())
            }
        }
    }

    // ------------------------------------------------------------ what is answered

    /// A page of metrics.
    pub async fn metrics(&self, format: Format) -> String {
        let _turn = self.scrapes.enter().await;
        let scraped = self.scrape().await;
        families::write(&scraped, format).await
    }

    async fn scrape(&self) -> Scraped {
        let partitions_max = if self.options.per_partition { ADMIN_PARTITIONS_MAX } else { 0 };
        let readings = self.shard.all_shards().map(async |id| {
            match self.ask(id, ShardRequest::Scrape { partitions_max }).await {
                Some(ShardReply::Scrape(reading)) => (id, Some(reading)),
                _ => (id, None),
            }
        });
        let shards = join_all(readings).await;
        let host = HostReading {
            started: self.started,
            usage: runtime::process_usage(),
            volume: runtime::volume_space(&self.options.data_directory).ok(),
        };
        Scraped { host, shards }
    }

    /// The page of partitions that something is wrong with.
    async fn faults(&self) -> String {
        let _turn = self.scrapes.enter().await;
        let readings = self.shard.all_shards().map(async |id| {
            match self.ask(id, ShardRequest::Faults { faults_max: ADMIN_FAULTS_MAX }).await {
                Some(ShardReply::Faults(reading)) => (id, Some(reading)),
                _ => (id, None),
            }
        });
        let shards = join_all(readings).await;
        faults::write(&shards)
    }

    /// The page of cores.
    async fn cores(&self) -> String {
        let _turn = self.scrapes.enter().await;
        let partitions_max = ADMIN_HOT_PARTITIONS_MAX;
        let readings = self.shard.all_shards().map(async |id| {
            match self.ask(id, ShardRequest::Load { partitions_max }).await {
                Some(ShardReply::Load(reading)) => (id, Some(reading)),
                _ => (id, None),
            }
        });
        let shards = join_all(readings).await;
        cores::write(&shards)
    }

    /// Every shard answers.
    async fn health(&self) -> Result<(), String> {
        self.standings().await.map(drop)
    }

    /// Every shard answers, and serves clients.
    async fn readiness(&self) -> Result<(), String> {
        match self.standings().await?.into_iter().find(|(_, is_ready)| !is_ready) {
            Some((id, _)) => Err(format!("shard {id} does not serve clients")),
            None => Ok(()),
        }
    }

    /// Whether each shard serves clients.
    async fn standings(&self) -> Result<Vec<(ShardId, bool)>, String> {
        let asked = self.shard.all_shards().map(async |id| {
            match self.ask(id, ShardRequest::Standing).await {
                Some(ShardReply::Standing { is_ready }) => Ok((id, is_ready)),
                _ => {
                    let limit = ADMIN_SHARD_WAIT_MAX.as_secs();
                    Err(format!("shard {id} has not answered within {limit} seconds"))
                }
            }
        });
        join_all(asked).await.into_iter().collect()
    }

    /// Asks a shard for so long at most; one whose messages have backed up is not asked.
    async fn ask(&self, id: ShardId, request: ShardRequest) -> Option<ShardReply> {
        if !self.shard.mailbox.has_room_for(id) {
            return None;
        }
        runtime::timeout(ADMIN_SHARD_WAIT_MAX, self.shard.ask(id, request)).await
    }
}

/// The page that a connection holds, if it does, until it ends.
struct Page<'a> {
    admin: &'a Admin,
    is_held: Cell<bool>,
}

impl Page<'_> {
    /// False when too many are held.
    fn hold(&self) -> bool {
        let pages = &self.admin.pages;
        let is_room = pages.get() < ADMIN_PAGES_MAX;
        if is_room && !self.is_held.replace(true) {
            pages.set(pages.get() + 1);
        }
        is_room
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        self.admin.pages.set(self.admin.pages.get() - usize::from(self.is_held.get()));
    }
}

fn tell_address(listener: &Listener) {
    tracing::info!(address = %listener.local_address(), "metrics and health are served");
}

fn verdict(outcome: Result<(), String>) -> Response<Whole> {
    match outcome {
        Ok(()) => text(StatusCode::OK, "ok".into()),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

/// One line of text.
fn text(status: StatusCode, line: String) -> Response<Whole> {
    response(status, PLAIN, line + "\n")
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Whole> {
    let response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, content_type)
        .header(CACHE_CONTROL, "no-store")
        .body(Whole::new(body));
    response.expect("its headers are constants")
}
