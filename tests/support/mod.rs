//! A broker as a user runs it, for tests: its own folder, free ports, stopped and cleaned up on drop.

#![allow(dead_code)]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const START_MAX: Duration = Duration::from_secs(30);

/// A running `corelog serve`.
pub struct Broker {
    process: Child,
    log: Receiver<String>,
    pub seen: Vec<String>,
    pub address: SocketAddr,
}

/// A port such that it and the next eight are free now, for the common port and those of the shards.
/// Another process may take one before the broker does; `Broker::start` then tries again.
fn free_port() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let port = first.local_addr().expect("bound").port();
        let Some(last) = port.checked_add(8) else { continue };
        if (port + 1..=last).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return port;
        }
    }
}

impl Broker {
    /// Starts a broker in `directory`, where its data is in ./data unless the arguments say otherwise, and
    /// waits until every shard is ready.
    pub fn start(directory: &Path, arguments: &[&str]) -> Broker {
        let port = free_port();
        for _ in 0..3 {
            if let Some(broker) = Broker::try_start(directory, port, arguments) {
                return broker;
            }
        }
        panic!("the broker did not start on port {port}");
    }

    fn try_start(directory: &Path, port: u16, arguments: &[&str]) -> Option<Broker> {
        let has_admin = arguments.contains(&"--admin-listen");
        let mut process = Command::new(env!("CARGO_BIN_EXE_corelog"))
            .arg("serve")
            .current_dir(directory)
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--memory-per-shard-bytes", "128MiB"])
            .args(if has_admin { &[][..] } else { &["--admin-listen", "none"] })
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the broker's program is built");
        let stderr = process.stderr.take().expect("piped");
        let (lines, log) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut broker = Broker { process, log, seen: Vec::new(), address };
        let shards = arguments.iter().skip_while(|a| **a != "--cpus").nth(1);
        let shards = shards.map_or(1, |cpus| cpus.split(',').count());
        let mut ready = 0;
        while ready < shards {
            match broker.log.recv_timeout(START_MAX) {
                Ok(line) => {
                    ready += usize::from(line.contains(" ready "));
                    broker.seen.push(line);
                }
                Err(_) => {
                    eprintln!("the broker said: {:#?}", broker.seen);
                    return None;
                }
            }
        }
        Some(broker)
    }

    pub fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// Where metrics and health are served, for a broker that was started with `--admin-listen`.
    pub fn admin(&self) -> SocketAddr {
        let line = self.seen.iter().find(|line| line.contains("metrics and health are served"));
        let line = line.unwrap_or_else(|| panic!("no admin port: {:#?}", self.seen));
        let (_, address) = line.rsplit_once("address=").expect("the line says where");
        address.trim().parse().expect("an address")
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it was ours");
    }

    /// SIGTERM, and all that it logged.
    ///
    /// # Panics
    /// When it does not end with status 0.
    pub fn stop(mut self) -> Vec<String> {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().expect("kill is there");
        assert!(sent.success());
        let status = self.process.wait().expect("it was ours");
        self.seen.extend(self.log.iter());
        assert!(status.success(), "{status}: {:#?}", self.seen);
        std::mem::take(&mut self.seen)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A number that the broker's shards logged when they stopped, summed.
pub fn counted(log: &[String], name: &str) -> u64 {
    let field = format!(" {name}=");
    log.iter()
        .filter(|line| line.contains("shard stopped"))
        .filter_map(|line| {
            let rest = &line[line.find(&field)? + field.len()..];
            rest.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}
