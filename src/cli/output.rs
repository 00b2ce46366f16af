//! Data on stdout, everything else on stderr, and how a command fails.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::time::Duration;

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

/// How a command shows what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one JSON object per line.
    Json,
}

pub type Stdout = BufWriter<StdoutLock<'static>>;

pub fn buffered_stdout() -> Stdout {
    BufWriter::with_capacity(64 * 1024, io::stdout().lock())
}

/// Runs `write` on a buffered stdout and flushes it.
pub fn stdout(write: impl FnOnce(&mut Stdout) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = buffered_stdout();
    write(&mut out)?;
    out.flush()?;
    Ok(())
}

/// Writes a table with aligned columns; the first row is its head.
pub fn write_table(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A sentence for whoever watches; scripts do not see it.
pub fn note(sentence: &str) {
    if io::stderr().is_terminal() {
        eprintln!("{sentence}");
    }
}

/// A bar on stderr for work of `length` `unit`s, or a count when the length is not known. Hidden unless a
/// person watches stderr, and when data scrolls over the same terminal.
pub fn progress(length: Option<u64>, unit: &str, writes_stdout: bool) -> ProgressBar {
    let is_watched = io::stderr().is_terminal() && !(writes_stdout && io::stdout().is_terminal());
    if !is_watched {
        return ProgressBar::hidden();
    }
    let (bar, template) = match length {
        Some(length) if unit == "bytes" => (
            ProgressBar::new(length),
            "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}".to_string(),
        ),
        Some(length) => (
            ProgressBar::new(length),
            format!("{{wide_bar}} {{human_pos}}/{{human_len}} {unit} {{per_sec}} {{eta}}"),
        ),
        None => (
            ProgressBar::new_spinner(),
            format!("{{spinner}} {{human_pos}} {unit} {{per_sec}} {{elapsed}}"),
        ),
    };
    let style = ProgressStyle::with_template(&template);
    bar.set_style(style.expect("the templates above are well-formed"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_lines_have_no_trailing_space() {
        let row = |cells: [&str; 3]| cells.map(String::from).to_vec();
        let mut out = Vec::new();
        write_table(&mut out, &[row(["a", "name", "c"]), row(["10", "é", ""])]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a   name  c\n10  é\n");
    }

    #[test]
    fn templates_of_all_bars_are_well_formed() {
        for length in [None, Some(5)] {
            for unit in ["bytes", "records"] {
                progress(length, unit, false).finish_and_clear();
            }
        }
    }
}
