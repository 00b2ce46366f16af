//! What a check of the host says: a verdict, what was found, what it costs, and what changes it. Plain data.

use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    /// It may cost throughput or tail latency; the broker runs and keeps its promises.
    Advice,
    /// The broker does not start, a promise is not kept, or the host is held far below what it can do.
    Problem,
    /// The files that tell are missing or say something else, as in containers.
    Unknown,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Advice => "advice",
            Verdict::Problem => "problem",
            Verdict::Unknown => "unknown",
        }
    }
}

/// One thing that is looked at: why, with the source, and what changes it. `DEVICE` stands for a device's name.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    pub name: &'static str,
    pub cost: &'static str,
    pub change: &'static str,
}

impl Check {
    pub fn ok(&self, found: impl Into<String>) -> Finding {
        self.finding(Verdict::Ok, found.into())
    }

    pub fn advice(&self, found: impl Into<String>) -> Finding {
        self.finding(Verdict::Advice, found.into())
    }

    pub fn problem(&self, found: impl Into<String>) -> Finding {
        self.finding(Verdict::Problem, found.into())
    }

    /// The file that would tell is missing, unreadable or malformed.
    pub fn unknown(&self) -> Finding {
        self.finding(Verdict::Unknown, "not visible here".to_string())
    }

    fn finding(&self, verdict: Verdict, found: String) -> Finding {
        Finding { check: *self, verdict, found, device: None }
    }
}

#[derive(Debug)]
pub struct Finding {
    check: Check,
    pub verdict: Verdict,
    found: String,
    device: Option<String>,
}

impl Finding {
    /// The same, of one of several devices.
    pub fn about(mut self, device: &str) -> Finding {
        self.device = Some(device.to_string());
        self
    }

    pub fn name(&self) -> &'static str {
        self.check.name
    }

    pub fn found(&self) -> String {
        match &self.device {
            Some(device) => format!("{device}: {}", self.found),
            None => self.found.clone(),
        }
    }

    /// What it costs and what changes it, where something should be changed.
    pub fn remedy(&self) -> Option<(&'static str, String)> {
        let is_needed = matches!(self.verdict, Verdict::Advice | Verdict::Problem);
        let device = self.device.as_deref().unwrap_or("DEVICE");
        is_needed.then(|| (self.check.cost, self.check.change.replace("DEVICE", device)))
    }

    pub fn to_json(&self) -> Value {
        let mut line = json!({
            "subject": self.name(),
            "sound": self.verdict != Verdict::Problem,
            "verdict": self.verdict.name(),
            "found": self.found,
        });
        if let Some(device) = &self.device {
            line["device"] = json!(device);
        }
        if let Some((cost, change)) = self.remedy() {
            line["cost"] = json!(cost);
            line["change"] = json!(change);
        }
        line
    }
}
