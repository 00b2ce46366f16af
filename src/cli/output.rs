//! Data on stdout, and how a command fails.

use std::io::{self, BufWriter, StdoutLock, Write};

/// Why a command ends before it is done.
#[derive(Debug)]
pub enum Failure {
    /// One plain sentence; exit code 1.
    Failed(String),
    /// The arguments contradict each other or the configuration is wrong; exit code 2.
    Usage(String),
    /// Whoever reads stdout has gone away: nothing to say, exit code 0.
    ReaderGone,
    /// The user has been told already; this exit code.
    Told(u8),
}

impl Failure {
    pub fn failed(sentence: impl Into<String>) -> Failure {
        Failure::Failed(sentence.into())
    }

    pub fn usage(sentence: impl Into<String>) -> Failure {
        Failure::Usage(sentence.into())
    }
}

/// Of stdout: files and sockets say themselves what they were about.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ReaderGone,
            _ => Failure::Failed(format!("cannot write to stdout: {error}")),
        }
    }
}

/// Runs `write` on a buffered stdout and flushes it.
pub fn stdout(
    write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    write(&mut out)?;
    out.flush()?;
    Ok(())
}
