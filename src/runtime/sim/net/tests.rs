use super::*;
use crate::runtime::sim::{Simulation, SimulationOptions, for_each_seed, network, sleep, spawn};
use crate::runtime::timeout;
use std::collections::BTreeSet;

const SHARED: ListenOptions = ListenOptions { shared: true, backlog: 16 };
const ALONE: ListenOptions = ListenOptions { shared: false, backlog: 16 };
const SECOND: Duration = Duration::from_secs(1);

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

async fn read_some(stream: &Stream, limit: usize) -> io::Result<BytesMut> {
    let mut buffer = BytesMut::new();
    poll_fn(|cx| stream.poll_read(cx, &mut buffer, limit)).await?;
    Ok(buffer)
}

/// Everything to the end of the stream, or to its breaking.
async fn read_all(stream: &Stream) -> (BytesMut, io::Result<()>) {
    let mut all = BytesMut::new();
    loop {
        match poll_fn(|cx| stream.poll_read(cx, &mut all, 1000)).await {
            Ok(0) => return (all, Ok(())),
            Ok(_) => {}
            Err(error) => return (all, Err(error)),
        }
    }
}

async fn write_some(stream: &Stream, bytes: &[u8]) -> io::Result<usize> {
    let half = bytes.len() / 2;
    let slices = [IoSlice::new(&bytes[..half]), IoSlice::new(&bytes[half..])];
    poll_fn(|cx| stream.poll_write_vectored(cx, &slices)).await
}

async fn write_all(stream: &Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        bytes = &bytes[write_some(stream, bytes).await?..];
    }
    Ok(())
}

/// Both sides of a connection to port 9092, and its listener.
async fn pair() -> (Stream, Stream, Listener) {
    let listener = Listener::bind(address(9092), ALONE).unwrap();
    let connecting = spawn(Stream::connect(address(9092)));
    let accepted = listener.accept().await.unwrap();
    (connecting.await.unwrap(), accepted, listener)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 % 251) as u8).collect()
}

#[test]
fn bytes_arrive_whole_and_in_order_in_both_directions_however_they_are_split() {
    let mut splits = BTreeSet::new();
    for_each_seed(200, |seed| {
        let sent = pattern(3000 + seed as usize * 100);
        let reads = Simulation::new(seed).run(async {
            let (client, server, _listener) = pair().await;
            let copy = sent.clone();
            let echo = spawn(async move {
                let (received, end) = read_all(&server).await;
                end.unwrap();
                assert_eq!(received, copy);
            });
            let sending = sent.clone();
            write_all(&client, &sending).await.unwrap();
            drop(client);
            echo.await;
            crate::runtime::sim::now()
        });
        splits.insert(reads);
    });
    assert!(splits.len() > 150);
}

#[test]
fn addresses_match_on_both_sides() {
    Simulation::new(1).run(async {
        let (client, server, listener) = pair().await;
        assert_eq!(listener.local_address(), address(9092));
        assert_eq!(client.peer_address(), address(9092));
        assert_eq!(server.local_address(), client.peer_address());
        assert_eq!(server.peer_address(), client.local_address());
    });
}

#[test]
fn a_writer_waits_for_a_reader_that_does_not_read() {
    for_each_seed(50, |seed| {
        Simulation::new(seed).run(async {
            let (client, server, _listener) = pair().await;
            let sent = pattern(200_000);
            let mut written = 0;
            while let Some(more) = timeout(SECOND, write_some(&client, &sent[written..])).await {
                written += more.unwrap();
            }
            assert_eq!(written, 64 * 1024);
            let read = read_some(&server, 1000).await.unwrap();
            assert!(write_some(&client, &sent[written..]).await.unwrap() <= read.len());
        });
    });
}

#[test]
fn a_read_never_gives_more_than_its_limit() {
    Simulation::new(1).run(async {
        let (client, server, _listener) = pair().await;
        write_all(&client, &pattern(1000)).await.unwrap();
        sleep(SECOND).await;
        for _ in 0..20 {
            assert!(read_some(&server, 7).await.unwrap().len() <= 7);
        }
    });
}

#[test]
fn connecting_where_nobody_listens_is_refused() {
    Simulation::new(1).run(async {
        let refused = Stream::connect(address(1)).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let (_client, _server, listener) = pair().await;
        drop(listener);
        let refused = Stream::connect(address(9092)).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_port_is_taken_once_unless_it_is_shared() {
    Simulation::new(1).run(async {
        let alone = Listener::bind(address(1), ALONE).unwrap();
        let taken = Listener::bind(address(1), SHARED).err().unwrap();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(alone);
        let _one = Listener::bind(address(1), SHARED).unwrap();
        let _other = Listener::bind(address(1), SHARED).unwrap();
        let free = Listener::bind(address(0), ALONE).unwrap();
        assert!(free.local_address().port() >= EPHEMERAL_PORT_FIRST);
    });
}

#[test]
fn connections_to_a_shared_port_reach_every_listener() {
    Simulation::new(1).run(async {
        let listeners = [0; 3].map(|_| Listener::bind(address(1), SHARED).unwrap());
        let mut clients = Vec::new();
        for _ in 0..30 {
            clients.push(Stream::connect(address(1)).await.unwrap());
        }
        for listener in listeners {
            assert!(timeout(SECOND, listener.accept()).await.is_some());
        }
    });
}

#[test]
fn connecting_waits_while_the_backlog_is_full() {
    Simulation::new(1).run(async {
        let options = ListenOptions { shared: false, backlog: 2 };
        let listener = Listener::bind(address(1), options).unwrap();
        let _queued = [0; 2].map(|_| spawn(Stream::connect(address(1))));
        sleep(SECOND).await;
        let waiting = spawn(Stream::connect(address(1)));
        sleep(SECOND).await;
        assert_eq!(network().connections(), 2);
        let _accepted = listener.accept().await.unwrap();
        assert!(waiting.await.is_ok());
    });
}

#[test]
fn a_cut_leaves_a_prefix_and_then_an_error() {
    let mut lengths = BTreeSet::new();
    for_each_seed(300, |seed| {
        let network = NetworkOptions { cut_probability: 0.2, ..NetworkOptions::default() };
        let options = SimulationOptions { network, ..SimulationOptions::default() };
        let received = Simulation::with_options(seed, options).run(async {
            let (client, server, _listener) = pair().await;
            spawn(async move {
                let sent = pattern(2000);
                for part in sent.chunks(100) {
                    if write_all(&client, part).await.is_err() {
                        break;
                    }
                    sleep(Duration::from_micros(50)).await;
                }
                // The first write after a cut may be taken; a later one is not.
                client
            });
            timeout(SECOND, read_all(&server)).await
        });
        let Some((received, end)) = received else { return };
        assert_eq!(received, pattern(2000)[..received.len()]);
        if let Err(error) = end {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            lengths.insert(received.len());
        }
    });
    assert!(lengths.len() > 50, "{lengths:?}");
    assert!(lengths.iter().any(|length| length % 100 != 0));
}

#[test]
fn an_injected_cut_wakes_who_waits_on_either_side() {
    for_each_seed(50, |seed| {
        Simulation::new(seed).run(async {
            let (client, server, _listener) = pair().await;
            let reading = spawn(async move { read_some(&server, 10).await });
            let writing = spawn(async move { write_all(&client, &pattern(100_000)).await });
            sleep(SECOND / 1000).await;
            network().cut_port(9092);
            // What had arrived may still be read.
            let read = reading.await;
            assert!(read.map_or(true, |bytes| !bytes.is_empty()));
            assert_eq!(writing.await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        });
    });
}

#[test]
fn closing_ends_the_stream_after_what_was_sent() {
    for_each_seed(100, |seed| {
        Simulation::new(seed).run(async {
            let (client, server, _listener) = pair().await;
            write_all(&client, b"last words").await.unwrap();
            drop(client);
            let (received, end) = read_all(&server).await;
            end.unwrap();
            assert_eq!(received, b"last words"[..]);
            // The first write to a closed peer is lost in silence, the next one fails.
            assert!(write_all(&server, b"anyone?").await.is_ok());
            let error = write_all(&server, b"anyone?").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            drop(server);
            assert_eq!(network().connections(), 0);
        });
    });
}

#[test]
fn closing_with_bytes_unread_resets_the_connection() {
    Simulation::new(1).run(async {
        let (client, server, _listener) = pair().await;
        write_all(&client, b"a request that nobody reads").await.unwrap();
        drop(server);
        let error = read_some(&client, 10).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn shutdown_ends_both_directions_and_wakes_its_own_reader() {
    for_each_seed(50, |seed| {
        Simulation::new(seed).run(async {
            let (client, server, _listener) = pair().await;
            let client = Rc::new(client);
            let reader = Rc::clone(&client);
            let reading = spawn(async move { read_some(&reader, 10).await });
            sleep(SECOND).await;
            client.shutdown();
            assert!(reading.await.unwrap().is_empty());
            assert!(read_some(&server, 10).await.unwrap().is_empty());
            let error = write_some(&client, b"more").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        });
    });
}

#[test]
fn a_failed_accept_keeps_the_connection_for_the_next() {
    Simulation::new(1).run(async {
        let listener = Listener::bind(address(1), ALONE).unwrap();
        let _client = Stream::connect(address(1)).await.unwrap();
        network().fail_next_accept(libc::EMFILE);
        let error = listener.accept().await.err().unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        assert!(listener.accept().await.is_ok());
    });
}

#[test]
fn a_dead_process_leaves_no_socket() {
    let simulation = Simulation::new(1);
    let (client, _server, _listener) = simulation.run(pair());
    simulation.kill();
    assert_eq!(simulation.network().connections(), 0);
    simulation.run(async {
        let error = read_some(&client, 10).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(Listener::bind(address(9092), ALONE).is_ok());
    });
}
