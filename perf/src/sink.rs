//! `corelog-perf sink`: a broker's place on the host without a broker. It takes what comes, answers, stores
//! nothing: the ceiling that the kernel's TCP and the generator set. One blocking thread per connection.

use crate::raw::{self, Received};
use crate::stub::Stub;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

/// Take whatever comes, answer like a broker, store nothing: what the kernel allows
#[derive(clap::Args, Clone, Debug)]
pub struct Sink {
    /// Address to listen on
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9192")]
    listen: SocketAddr,
    /// Partitions that every topic is said to have
    #[arg(short, long, default_value_t = 1)]
    partitions: i32,
}

/// Serves until it is killed.
///
/// # Errors
/// The address cannot be listened on.
pub fn run(arguments: &Sink) -> Result<(), String> {
    let (listener, local) = raw::bind(arguments.listen)?;
    let (host, port) = (local.ip().to_string(), local.port());
    let stub = Stub { host, port, partitions: arguments.partitions };
    raw::serve(&listener, local, "sink", move |stream| serve(&stub, stream));
    Ok(())
}

fn serve(stub: &Stub, mut stream: TcpStream) -> Result<(), String> {
    let mut received = Received::default();
    let mut out = Vec::new();
    while received.fill(&mut stream)? {
        while let Some(frame) = received.next_frame()? {
            if let Some(frame) = stub.answer(frame)? {
                out.extend_from_slice(&frame);
            }
        }
        stream.write_all(&out).map_err(|error| error.to_string())?;
        out.clear();
    }
    Ok(())
}
