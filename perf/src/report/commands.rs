//! The commands that read reports: `render` shows one again, `compare` sets several side by side.

use crate::compare;
use crate::report::{Report, json, line, render_text, write_all, write_whole};
use clap::Args;
use std::io::{self, Write};
use std::path::PathBuf;

/// Show a report again, from its JSON.
#[derive(Args, Clone)]
pub struct Render {
    /// What a run wrote.
    #[arg(value_name = "REPORT.json")]
    report: PathBuf,
    /// Also write the .json, .hgrm, .hlog and .html into this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one line of JSON instead, for a history of runs.
    #[arg(long)]
    line: bool,
}

/// Set runs side by side: runs with the same label are repetitions of each other, and the first label is
/// what the others are measured against. Refuses runs whose work differs, and invalid ones.
#[derive(Args, Clone)]
pub struct Compare {
    /// What runs wrote.
    #[arg(value_name = "REPORT.json", required = true, num_args = 2..)]
    reports: Vec<PathBuf>,
    /// Also write a page with the histograms drawn over each other.
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    /// Compare what is not comparable; the table and the page then say so first.
    #[arg(long)]
    force: bool,
}

/// # Errors
/// What could not be read or written.
pub fn render(arguments: &Render) -> io::Result<()> {
    let report = json::read(&arguments.report).map_err(io::Error::other)?;
    if arguments.line {
        return show(&line::render(&report));
    }
    show(&render_text(&report))?;
    if let Some(directory) = &arguments.out {
        let name = arguments.report.file_stem().unwrap_or_default().to_string_lossy();
        let written = write_all(&report, directory, &name)?;
        show(&format!("\nwritten: {}\n", listed(&written)))?;
    }
    Ok(())
}

/// # Errors
/// What could not be read or written, or why the runs are not compared.
pub fn compare(arguments: &Compare) -> io::Result<()> {
    let read = |path: &PathBuf| -> io::Result<(String, Report)> {
        let mut report = json::read(path).map_err(io::Error::other)?;
        // Histograms of every second are large, and only the whole run's are compared.
        report.intervals = Vec::new();
        Ok((path.display().to_string(), report))
    };
    let runs = arguments.reports.iter().map(read).collect::<io::Result<Vec<_>>>()?;
    let outcome = compare::compare(runs, arguments.force).map_err(io::Error::other)?;
    show(&compare::text::render(&outcome))?;
    if let Some(path) = &arguments.out {
        write_whole(path, &compare::page::render(&outcome))?;
        show(&format!("\nwritten: {}\n", path.display()))?;
    }
    Ok(())
}

fn listed(paths: &[PathBuf]) -> String {
    let names = paths.iter().map(|path| path.display().to_string());
    names.collect::<Vec<_>>().join(", ")
}

/// A reader that has seen enough (`| head`) is no failure.
fn show(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}
