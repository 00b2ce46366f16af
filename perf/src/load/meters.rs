//! What one thread counts; handed over once a second as a value. Plain data.

use crate::histogram::Latencies;
use crate::report::model::{Flow, Interval};

/// Counted since it was last taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meters {
    pub planned: u64,
    pub produced: Flow,
    pub consumed: Flow,
    pub acknowledge: Latencies,
    pub end_to_end: Latencies,
    pub generator_lag: Latencies,
    /// At the moment of taking.
    pub backlog: u64,
    pub consumer_lag: u64,
    pub first_error: Option<String>,
}

impl Meters {
    pub fn take(&mut self) -> Meters {
        std::mem::take(self)
    }

    pub fn merge(&mut self, other: &Meters) {
        self.planned += other.planned;
        merge_flow(&mut self.produced, &other.produced);
        merge_flow(&mut self.consumed, &other.consumed);
        self.acknowledge.merge(&other.acknowledge);
        self.end_to_end.merge(&other.end_to_end);
        self.generator_lag.merge(&other.generator_lag);
        self.backlog += other.backlog;
        self.consumer_lag += other.consumer_lag;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
    }

    pub fn interval(&self, start_seconds: f64) -> Interval {
        Interval {
            start_seconds,
            seconds: 0.0,
            planned_records: self.planned,
            produced_records: self.produced.records,
            produced_bytes: self.produced.payload_bytes,
            consumed_records: self.consumed.records,
            consumed_bytes: self.consumed.payload_bytes,
            backlog_records: self.backlog,
            consumer_lag_records: self.consumer_lag,
            errors: self.produced.errors + self.consumed.errors,
            retries: self.produced.retries + self.consumed.retries,
            acknowledge: self.acknowledge.pack(),
            end_to_end: self.end_to_end.pack(),
            broker_cpu_seconds: None,
            broker_memory_bytes: None,
        }
    }
}

pub fn merge_flow(flow: &mut Flow, other: &Flow) {
    flow.records += other.records;
    flow.payload_bytes += other.payload_bytes;
    flow.batch_bytes += other.batch_bytes;
    flow.batches += other.batches;
    flow.requests += other.requests;
    flow.errors += other.errors;
    flow.retries += other.retries;
    flow.throttled_seconds += other.throttled_seconds;
}
