//! Looks at broker, generator and device from outside while a run goes on. Main thread only.

use crate::load::thread::SAMPLE_EVERY;
use crate::load::window::Window;
use crate::process::{self, Device, Used};
use crate::report::model::{DeviceUse, Interval, ProcessUse};
use corelog::runtime::{self, Instant};

/// What was seen at one moment.
#[derive(Clone, Debug, Default)]
struct Look {
    broker: Option<Used>,
    generator: Option<Used>,
    device: Option<Device>,
}

/// Looks at the start of the measured time and at the end of each of its seconds.
pub struct Observer {
    broker_pid: Option<u32>,
    device_path: String,
    looks: Vec<Look>,
}

impl Observer {
    pub fn new(broker_pid: Option<u32>, device_path: &str) -> Observer {
        Observer { broker_pid, device_path: device_path.to_string(), looks: Vec::new() }
    }

    /// To be called often; looks when it is time to.
    pub fn look(&mut self, window: Option<&Window>) {
        let Some(window) = window else { return };
        let number = self.looks.len() as u32;
        let due = Instant(window.measure.0) + SAMPLE_EVERY * number;
        let is_over = number > 0 && due >= window.end + SAMPLE_EVERY;
        if is_over || runtime::now() < due.min(window.end) {
            return;
        }
        if number == 0
            && let Some(pid) = self.broker_pid
        {
            process::reset_peak(pid);
        }
        self.looks.push(Look {
            broker: self.broker_pid.and_then(process::used),
            generator: process::used(std::process::id()),
            device: process::device(&self.device_path),
        });
    }

    /// Adds what the broker used in one second.
    pub fn complete(&self, number: usize, interval: &mut Interval) {
        let broker = |at: usize| self.looks.get(at)?.broker.as_ref();
        let (from, to) = (broker(number), broker(number + 1));
        interval.broker_cpu_seconds =
            from.zip(to).map(|(from, to)| to.cpu_seconds - from.cpu_seconds);
        interval.broker_memory_bytes = to.map(|to| to.memory_bytes);
    }

    fn ends(&self) -> Option<(&Look, &Look)> {
        self.looks.first().zip(self.looks.last())
    }

    pub fn broker(&self) -> Option<ProcessUse> {
        let (from, to) = self.ends()?;
        Some(ProcessUse::between(self.broker_pid?, from.broker.as_ref()?, to.broker.as_ref()?))
    }

    pub fn generator(&self) -> ProcessUse {
        let used = |(from, to): (&Look, &Look)| {
            Some(ProcessUse::between(
                std::process::id(),
                from.generator.as_ref()?,
                to.generator.as_ref()?,
            ))
        };
        self.ends().and_then(used).unwrap_or_default()
    }

    pub fn device(&self) -> Option<DeviceUse> {
        let (from, to) = self.ends()?;
        let (from, to) = (from.device.as_ref()?, to.device.as_ref()?);
        Some(DeviceUse {
            name: to.name.clone(),
            written_bytes: to.written_bytes.saturating_sub(from.written_bytes),
            writes: to.writes.saturating_sub(from.writes),
            flushes: to.flushes.saturating_sub(from.flushes),
        })
    }
}

/// The wall clock as RFC 3339 in UTC, to the second.
pub fn utc_now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}
