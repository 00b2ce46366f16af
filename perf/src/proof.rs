//! Proof that the instrument is right: the load against a broker whose delays are scripted, in virtual time,
//! where what must be reported is known to the nanosecond.

mod consume;

use crate::load::meters::Meters;
use crate::load::thread::{self, Outcome, Shared};
use crate::settings::{Length, Rate, Settings};
use crate::stub::Stub;
use crate::verdict;
use bytes::{Buf, Bytes, BytesMut};
use corelog::runtime::sim::{NetworkOptions, Simulation, SimulationOptions};
use corelog::runtime::{self, ListenOptions, Listener, Stream};
use std::cell::Cell;
use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long bytes are on their way, each way.
const ON_THE_WAY: Duration = Duration::from_micros(10);

/// The API key that a request begins with.
const PRODUCE: [u8; 2] = [0, 0];

/// What a script says for a connection that ends instead of an answer.
const CUT: Duration = Duration::MAX;

/// Says how long the answer to a produce takes, by its number and the time since the start.
type Script = fn(number: u64, since_start: Duration) -> Duration;

struct Ran {
    meters: Meters,
    outcome: Outcome,
}

fn quiet() -> SimulationOptions {
    let network = NetworkOptions {
        delay: ON_THE_WAY..ON_THE_WAY + Duration::from_nanos(1),
        buffer_bytes: 1 << 20,
        partial_probability: 0.0,
        cut_probability: 0.0,
    };
    let steps_max = 500_000_000;
    SimulationOptions { network, stall_probability: 0.0, steps_max, ..SimulationOptions::default() }
}

/// Runs a load against a broker that follows the script.
fn run(options: SimulationOptions, settings: Settings, script: Script) -> Ran {
    Simulation::with_options(1, options).run(async move {
        let listening = ListenOptions { shared: false, backlog: 16 };
        let listener = Listener::bind("127.0.0.1:9092".parse().unwrap(), listening).unwrap();
        let stub = Rc::new(Stub { host: "127.0.0.1".into(), port: 9092, partitions: 1 });
        let begun = runtime::now();
        drop(runtime::spawn(async move {
            let number = Rc::new(Cell::new(0));
            while let Ok(stream) = listener.accept().await {
                let (stub, number) = (stub.clone(), number.clone());
                let delay = move || {
                    number.set(number.get() + 1);
                    script(number.get(), runtime::now().since(begun))
                };
                drop(runtime::spawn(serve(stream, stub, delay)));
            }
        }));
        load(settings).await
    })
}

/// The load of these settings, on one thread.
async fn load(settings: Settings) -> Ran {
    let settings = settings.over(Settings {
        linger: Some(Length(Duration::ZERO)),
        record_bytes: Some("100".parse().unwrap()),
        warm_up: Some(Length(Duration::ZERO)),
        ..Settings::default()
    });
    let shared = Shared::new(settings.check().unwrap(), 7);
    let (sender, samples) = channel();
    let outcome = thread::run(0, shared, sender).await;
    let mut meters = Meters::default();
    samples.iter().for_each(|sample| meters.merge(&sample.meters));
    Ran { meters, outcome }
}

/// Answers in order, each after its delay.
async fn serve(stream: Stream, stub: Rc<Stub>, delay: impl Fn() -> Duration) {
    let mut buffer = BytesMut::new();
    while let Some(frame) = next_frame(&stream, &mut buffer).await {
        if frame.starts_with(&PRODUCE) {
            match delay() {
                CUT => return,
                delay => runtime::sleep(delay).await,
            }
        }
        send(&stream, stub.answer(frame).unwrap().unwrap()).await;
    }
}

/// A request without its length; none when the other side has closed.
async fn next_frame(stream: &Stream, buffer: &mut BytesMut) -> Option<Bytes> {
    loop {
        let length = buffer.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes) as usize);
        if let Some(length) = length.filter(|length| buffer.len() >= 4 + length) {
            buffer.advance(4);
            return Some(buffer.split_to(length).freeze());
        }
        let read = poll_fn(|context| stream.poll_read(context, buffer, 1 << 20)).await;
        if read.unwrap_or(0) == 0 {
            return None;
        }
    }
}

async fn send(stream: &Stream, mut rest: Bytes) {
    while !rest.is_empty() {
        let slices = [IoSlice::new(&rest)];
        let sent = poll_fn(|context| stream.poll_write_vectored(context, &slices)).await;
        rest.advance(sent.unwrap());
    }
}

#[track_caller]
fn is_about(nanoseconds: u64, expect: Duration, allowed: Duration) {
    let got = Duration::from_nanos(nanoseconds);
    let near = got >= expect.saturating_sub(allowed) && got <= expect + allowed;
    assert!(near, "{got:?} where {expect:?} is right");
}

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn reported_percentiles_are_those_of_the_script() {
    // Of a thousand: 890 take 100 ms, 100 take 300 ms, 9 take 600 ms, one takes 900 ms; they do not overlap.
    let script: Script = |number, _| match number % 1000 {
        0 => milliseconds(900),
        n if n % 100 == 1 && n > 100 => milliseconds(600),
        n if n % 10 == 2 => milliseconds(300),
        _ => milliseconds(100),
    };
    let settings = Settings {
        rate: Some(Rate::PerSecond(1.0)),
        duration: Some(Length::from_secs(4000)),
        ..Settings::default()
    };
    let Ran { meters, outcome } = run(quiet(), settings, script);
    assert_eq!((outcome.failed, outcome.backlog), (None, 0));
    assert_eq!((meters.produced.records, meters.acknowledge.count()), (4000, 4000));
    for (share, delay) in [
        (0.5, 100),
        (0.89, 100),
        (0.891, 300),
        (0.99, 300),
        (0.991, 600),
        (0.999, 600),
        (0.9991, 900),
    ] {
        // To the histogram's three digits.
        let expect = milliseconds(delay) + 2 * ON_THE_WAY;
        is_about(meters.acknowledge.quantile(share), expect, expect / 1000);
    }
    assert_eq!(verdict::fell_behind(&meters.acknowledge, &meters.generator_lag), None);
}

/// Stops for 100 ms at the start of each second.
const STALLING: Script = |_, since_start| {
    let into_second = Duration::from_nanos((since_start.as_nanos() % 1_000_000_000) as u64);
    milliseconds(100).saturating_sub(into_second).max(Duration::from_micros(50))
};

#[test]
fn a_broker_that_stalls_shows_in_an_open_loop_as_it_must() {
    let settings = Settings {
        rate: Some(Rate::PerSecond(1000.0)),
        duration: Some(Length::from_secs(50)),
        ..Settings::default()
    };
    let Ran { meters, .. } = run(quiet(), settings, STALLING);
    let at = |share| meters.acknowledge.quantile(share);
    assert_eq!(meters.acknowledge.count(), 50_000);
    // A tenth of all records is planned while the broker stands still: the latest waits 100 ms.
    is_about(at(0.85), Duration::ZERO, milliseconds(1));
    is_about(at(0.95), milliseconds(50), milliseconds(3));
    is_about(at(0.99), milliseconds(90), milliseconds(3));
    is_about(meters.acknowledge.max(), milliseconds(100), milliseconds(1));
    assert_eq!(verdict::fell_behind(&meters.acknowledge, &meters.generator_lag), None);
}

#[test]
fn a_closed_loop_hides_the_same_stall_and_is_said_to() {
    let settings = Settings {
        in_flight: Some(1),
        batch_bytes: Some(200),
        duration: Some(Length::from_secs(10)),
        ..Settings::default()
    };
    let Ran { meters, .. } = run(quiet(), settings, STALLING);
    is_about(meters.acknowledge.quantile(0.999), Duration::ZERO, milliseconds(1));
    is_about(meters.acknowledge.max(), milliseconds(100), milliseconds(1));
}

#[test]
fn what_is_refused_last_goes_again_after_the_end() {
    let settings = Settings {
        in_flight: Some(1),
        batch_bytes: Some(200),
        duration: Some(Length::from_secs(1)),
        ..Settings::default()
    };
    // The tenth is on its way when the measured time ends, and the connection with it.
    let script: Script = |number, _| if number == 10 { CUT } else { milliseconds(105) };
    let Ran { meters, outcome } = run(quiet(), settings, script);
    assert_eq!((outcome.failed, outcome.backlog), (None, 0));
    assert_eq!(meters.produced.retries, 1);
}

#[test]
fn a_generator_that_is_held_up_is_caught() {
    let held_up = SimulationOptions {
        stall_probability: 0.05,
        stall: milliseconds(5)..milliseconds(30),
        ..quiet()
    };
    let settings = Settings {
        rate: Some(Rate::PerSecond(1000.0)),
        duration: Some(Length::from_secs(10)),
        ..Settings::default()
    };
    let Ran { meters, .. } = run(held_up, settings, |_, _| Duration::from_micros(100));
    let caught = verdict::fell_behind(&meters.acknowledge, &meters.generator_lag);
    assert!(caught.is_some_and(|why| why.contains("fell behind")));
}
