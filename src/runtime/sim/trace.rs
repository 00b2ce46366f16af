//! What happened lately, for the reader of a failure: a bounded ring of lines with virtual time. Lines
//! are kept as values and become text only when somebody prints them.

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

/// Lines kept; older ones are forgotten.
const LINES_MAX: usize = 512;

#[derive(Debug)]
struct Line {
    at_ns: u64,
    what: &'static str,
    subject: Rc<str>,
    numbers: [u64; 2],
}

/// The ring, and a fingerprint of everything that ever passed through it.
#[derive(Debug, Default)]
pub(super) struct Trace {
    lines: VecDeque<Line>,
    fingerprint: u64,
}

impl Trace {
    pub fn record(&mut self, at_ns: u64, what: &'static str, subject: Rc<str>, numbers: [u64; 2]) {
        self.mix(at_ns);
        self.mix(numbers[0]);
        self.mix(numbers[1] ^ ((subject.len() as u64) << 48) ^ ((what.len() as u64) << 56));
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(Line { at_ns, what, subject, numbers });
    }

    /// Makes `value` count in the fingerprint without a line.
    pub fn mix(&mut self, value: u64) {
        self.fingerprint =
            (self.fingerprint.rotate_left(23) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { at_ns, what, subject, numbers } in &self.lines {
            let (ms, ns) = (at_ns / 1_000_000, at_ns % 1_000_000);
            writeln!(f, "{ms:>8}.{ns:06} ms  {what:<16} {subject} {} {}", numbers[0], numbers[1])?;
        }
        Ok(())
    }
}
