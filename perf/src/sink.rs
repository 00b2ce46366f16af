//! A TCP sink that answers every frame with a small one and stores nothing.

use crate::Sink;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// As large as the answer of a broker to a produce of one partition.
const ANSWER_BYTES: usize = 56;

pub fn run(sink: &Sink) -> io::Result<()> {
    let listener = TcpListener::bind(sink.listen)?;
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || match answer(stream) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                eprintln!("corelog-perf: {error}");
            }
            _ => {}
        });
    }
    Ok(())
}

/// Reads in large pieces, as a broker does, and answers each frame that ends in one.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0u8; 1 << 20];
    let mut answer = [0u8; 4 + ANSWER_BYTES];
    answer[..4].copy_from_slice(&(ANSWER_BYTES as i32).to_be_bytes());
    // Bytes of the current frame still to come, and the length field as far as it is there.
    let (mut rest, mut field, mut have) = (0usize, [0u8; 4], 0);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        let mut bytes = &buffer[..read];
        while !bytes.is_empty() {
            if rest == 0 {
                field[have] = bytes[0];
                (have, bytes) = (have + 1, &bytes[1..]);
                if have == 4 {
                    (rest, have) = (u32::from_be_bytes(field) as usize, 0);
                }
                continue;
            }
            let step = rest.min(bytes.len());
            (rest, bytes) = (rest - step, &bytes[step..]);
            if rest == 0 {
                stream.write_all(&answer)?;
            }
        }
    }
}
