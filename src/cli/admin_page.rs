//! A page of a broker's admin port, for a command. On no core: it waits as the system's calls do.

use super::Failure;
use crate::config::HostPort;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// For a connection, and for each part of an answer.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// A longer answer is no page of a broker, and refused.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Gets a page that is JSON.
pub fn fetch(at: &HostPort, path: &str) -> Result<Value, Failure> {
    let failed =
        |reason: String| Failure::failed(format!("cannot get http://{at}{path}: {reason}"));
    let answer = exchange(at, path).map_err(|error| failed(error.to_string()))?;
    let body = body_of(&answer).map_err(failed)?;
    serde_json::from_str(body).map_err(|error| failed(error.to_string()))
}

fn exchange(at: &HostPort, path: &str) -> io::Result<String> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (at.host.as_str(), at.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, WAIT_MAX) {
            Ok(stream) => return ask(stream, at, path),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ask(mut stream: TcpStream, at: &HostPort, path: &str) -> io::Result<String> {
    stream.set_read_timeout(Some(WAIT_MAX))?;
    stream.set_write_timeout(Some(WAIT_MAX))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    let bytes = stream.take(ANSWER_BYTES_MAX + 1).read_to_string(&mut answer)?;
    if bytes as u64 > ANSWER_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than any page"));
    }
    Ok(answer)
}

/// The body of an answer that says that all is well, else what it says.
fn body_of(answer: &str) -> Result<&str, String> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer is cut short")?;
    let status = head.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("200") => Ok(body),
        _ => Err(format!("{status}: {}", body.trim_end())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_follows_a_head_that_says_200() {
        let page = |answer: &str| body_of(answer).map(str::to_string);
        assert_eq!(page("HTTP/1.1 200 OK\r\na: b\r\n\r\n{}\r\n"), Ok("{}\r\n".to_string()));
        let refused = page("HTTP/1.1 503 Service Unavailable\r\n\r\ntoo many\n");
        assert_eq!(refused, Err("HTTP/1.1 503 Service Unavailable: too many".to_string()));
        assert!(page("HTTP/1.1 200 OK\r\n").is_err());
        assert!(page("").is_err());
    }
}
