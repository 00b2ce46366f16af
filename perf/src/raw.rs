//! What the servers in a broker's place share: a listener with a blocking thread for each connection, and frames
//! cut out of what arrives.

use bytes::Bytes;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

/// Most bytes of one receive.
const READ_BYTES: usize = 1 << 20;
const FRAME_BYTES_MAX: usize = 100 << 20;

/// A listener, and the address that it got.
///
/// # Errors
/// The address cannot be listened on.
pub fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), String> {
    let failed = |error: io::Error| format!("cannot listen on {address}: {error}");
    let listener = TcpListener::bind(address).map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    Ok((listener, local))
}

/// Serves until it is killed. The first line on stderr says where: whoever started it waits for that.
pub fn serve(
    listener: &TcpListener,
    local: SocketAddr,
    name: &'static str,
    serve: impl Fn(TcpStream) -> Result<(), String> + Clone + Send + 'static,
) {
    eprintln!("{name} listens on {local}");
    for stream in listener.incoming() {
        let serve = serve.clone();
        let run = move |stream: TcpStream| {
            let ready = stream.set_nodelay(true).map_err(|error| error.to_string());
            if let Err(why) = ready.and_then(|()| serve(stream)) {
                eprintln!("{name}: connection closed: {why}");
            }
        };
        match stream {
            Ok(stream) => drop(std::thread::spawn(move || run(stream))),
            Err(error) => eprintln!("{name}: cannot accept: {error}"),
        }
    }
}

/// Bytes received and not yet cut into frames, in memory that is made once: a server that clears or copies
/// what it throws away would not be a ceiling.
pub struct Received {
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

impl Default for Received {
    fn default() -> Received {
        Received { memory: Arc::new(vec![0; 2 * READ_BYTES]), start: 0, end: 0 }
    }
}

impl Received {
    /// Receives once; false when the other side has closed. No frame may be held any more.
    ///
    /// # Errors
    /// The connection has failed.
    pub fn fill(&mut self, stream: &mut TcpStream) -> Result<bool, String> {
        let read = stream.read(self.room()).map_err(|error| error.to_string())?;
        self.end += read;
        Ok(read > 0)
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

    /// The next frame without its length, when it is there as a whole.
    ///
    /// # Errors
    /// It is longer than any that is taken.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, String> {
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
