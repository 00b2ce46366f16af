//! `corelog-perf sink`: a broker's place on the host without a broker. It takes what comes, answers, stores
//! nothing: the ceiling that the kernel's TCP and the generator set. One blocking thread per connection.

use crate::stub::Stub;
use bytes::Bytes;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

/// Most bytes of one receive.
const READ_BYTES: usize = 1 << 20;
const FRAME_BYTES_MAX: usize = 100 << 20;

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
    let failed = |error: io::Error| format!("cannot listen on {}: {error}", arguments.listen);
    let listener = TcpListener::bind(arguments.listen).map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    eprintln!("sink listens on {local}");
    let (host, port) = (local.ip().to_string(), local.port());
    let stub = Stub { host, port, partitions: arguments.partitions };
    for stream in listener.incoming() {
        let stub = stub.clone();
        let serve = move |stream| {
            if let Err(why) = serve(&stub, stream) {
                eprintln!("sink: connection closed: {why}");
            }
        };
        match stream {
            Ok(stream) => drop(std::thread::spawn(move || serve(stream))),
            Err(error) => eprintln!("sink: cannot accept: {error}"),
        }
    }
    Ok(())
}

fn serve(stub: &Stub, mut stream: TcpStream) -> Result<(), String> {
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let mut received = Received::new();
    let mut out = Vec::new();
    loop {
        let room = received.room();
        let read = stream.read(room).map_err(|error| error.to_string())?;
        if read == 0 {
            return Ok(());
        }
        received.end += read;
        while let Some(frame) = received.next_frame()? {
            if let Some(frame) = stub.answer(frame)? {
                out.extend_from_slice(&frame);
            }
        }
        stream.write_all(&out).map_err(|error| error.to_string())?;
        out.clear();
    }
}

/// Bytes received and not yet cut into frames, in memory that is made once: a sink that clears or copies
/// what it throws away would not be a ceiling.
struct Received {
    memory: Arc<Vec<u8>>,
    start: usize,
    end: usize,
}

/// The memory while a frame is looked at.
struct Lent(Arc<Vec<u8>>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Received {
    fn new() -> Received {
        Received { memory: Arc::new(vec![0; 2 * READ_BYTES]), start: 0, end: 0 }
    }

    /// Where the next receive may write.
    fn room(&mut self) -> &mut [u8] {
        let memory = Arc::get_mut(&mut self.memory).expect("no frame is being looked at");
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if memory.len() - self.end < READ_BYTES / 4 {
            memory.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if memory.len() - self.end < READ_BYTES / 4 {
            memory.resize(2 * memory.len(), 0);
        }
        let until = memory.len().min(self.end + READ_BYTES);
        &mut memory[self.end..until]
    }

    fn next_frame(&mut self) -> Result<Option<Bytes>, String> {
        let bytes = &self.memory[self.start..self.end];
        let Some(length) = bytes.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(format!("a frame of {length} bytes"));
        }
        if bytes.len() < 4 + length {
            return Ok(None);
        }
        let from = self.start + 4;
        self.start = from + length;
        Ok(Some(Bytes::from_owner(Lent(self.memory.clone())).slice(from..from + length)))
    }
}
