//! Fetches from the start of partitions to their end, and then from the start again.

use crate::{Count, Load, frames};
use corelog::wire::api::FetchRequest;
use corelog::wire::batch::BatchHeader;
use corelog::wire::{ErrorCode, Records, decode_response};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

pub fn run(load: &Load) -> io::Result<Count> {
    let mut threads = Vec::new();
    for (address, partitions) in frames::leaders(load.bootstrap, &load.topic)? {
        for _ in 0..load.connections {
            let (load, partitions) = (load.clone(), partitions.clone());
            threads.push(thread::spawn(move || read(&load, address, &partitions)));
        }
    }
    let mut total = Count::default();
    for thread in threads {
        total.add(thread.join().map_err(|_| io::Error::other("a reader panicked"))??);
    }
    Ok(total)
}

fn read(load: &Load, address: SocketAddr, partitions: &[i32]) -> io::Result<Count> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut wanted: Vec<(i32, i64)> = partitions.iter().map(|index| (*index, 0)).collect();
    let (start, warm_up) = (Instant::now(), Duration::from_secs(load.warm_up));
    let end = warm_up + Duration::from_secs(load.seconds);
    let mut total = Count::default();
    while start.elapsed() < end {
        stream.write_all(&frames::fetch(&load.topic, &wanted))?;
        let frame = frames::read_frame(&mut stream)?;
        let (_, response) = decode_response::<FetchRequest>(frame, frames::FETCH_VERSION)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let mut count = Count { requests: 1, ..Count::default() };
        for data in response.responses.iter().flat_map(|topic| &topic.partitions) {
            let place = wanted.iter_mut().find(|(index, _)| *index == data.partition_index);
            let Some((_, offset)) = place else { continue };
            if data.error_code != ErrorCode::None {
                return Err(io::Error::other(format!("fetch: {}", data.error_code)));
            }
            if let Some(Records::Inline(bytes)) = &data.records {
                count.bytes += bytes.len() as u64;
                let mut at = 0;
                while let Ok(header) = BatchHeader::parse(&bytes[at..]) {
                    at += header.batch_bytes;
                    if at > bytes.len() {
                        break;
                    }
                    count.records += header.record_count as u64;
                    *offset = header.next_offset().0;
                }
            }
            if *offset >= data.high_watermark {
                *offset = 0;
            }
        }
        if start.elapsed() >= warm_up {
            total.add(count);
        }
    }
    Ok(total)
}
