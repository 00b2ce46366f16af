//! Prepared produce requests, so many in flight, on so many connections.

use crate::{Count, Load, frames};
use corelog::wire::api::ProduceRequest;
use corelog::wire::decode_response;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

pub fn run(load: &Load) -> io::Result<Count> {
    let leaders = if load.sink {
        [(load.bootstrap, (0..load.partitions).collect())].into()
    } else {
        frames::leaders(load.bootstrap, &load.topic)?
    };
    let mut threads = Vec::new();
    for (address, partitions) in leaders {
        for connection in 0..load.connections {
            // Connections share a broker's partitions out.
            let mine: Vec<i32> =
                partitions.iter().copied().skip(connection).step_by(load.connections).collect();
            let mine = if mine.is_empty() { partitions.clone() } else { mine };
            let load = load.clone();
            threads.push(thread::spawn(move || send(&load, address, &mine)));
        }
    }
    let mut total = Count::default();
    for thread in threads {
        total.add(thread.join().map_err(|_| io::Error::other("a sender panicked"))??);
    }
    Ok(total)
}

fn send(load: &Load, address: SocketAddr, partitions: &[i32]) -> io::Result<Count> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let (batch, records) = frames::batch_of(load.record_bytes, load.batch_bytes);
    // A request for every group of partitions, sent in turn.
    let groups: Vec<&[i32]> = partitions.chunks(load.batches).collect();
    let requests: Vec<_> =
        groups.iter().map(|group| frames::produce(&load.topic, group, &batch)).collect();
    let (start, warm_up) = (Instant::now(), Duration::from_secs(load.warm_up));
    let end = warm_up + Duration::from_secs(load.seconds);
    let mut count = Count::default();
    let (mut sent, mut answered) = (0usize, 0usize);
    loop {
        let running = start.elapsed() < end;
        while running && sent - answered < load.in_flight {
            stream.write_all(&requests[sent % requests.len()])?;
            sent += 1;
        }
        if sent == answered {
            return Ok(count);
        }
        let frame = frames::read_frame(&mut stream)?;
        if !load.sink {
            check(frame)?;
        }
        let elapsed = start.elapsed();
        if elapsed >= warm_up && elapsed < end {
            let batches = groups[answered % groups.len()].len() as u64;
            let bytes = batches * batch.len() as u64;
            count.add(Count { records: batches * records, bytes, requests: 1 });
        }
        answered += 1;
    }
}

fn check(frame: bytes::Bytes) -> io::Result<()> {
    let (_, response) = decode_response::<ProduceRequest>(frame, frames::PRODUCE_VERSION)
        .map_err(|error| io::Error::other(error.to_string()))?;
    for partition in response.responses.iter().flat_map(|topic| &topic.partition_responses) {
        if !partition.error_code.is_none() {
            let sentence = format!("partition {}: {}", partition.index, partition.error_code);
            return Err(io::Error::other(sentence));
        }
    }
    Ok(())
}
