//! The report on the terminal: the verdict first, then the header, then tables. Pure.

use super::Report;
use super::summary::{self, Table};
use std::fmt::Write;

/// Lines end with a newline; the first one says whether the numbers count.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    let reasons = summary::invalid_reasons(report);
    if !reasons.is_empty() {
        text += &format!("INVALID: {}\n", one_line(&reasons.join("; ")));
    }
    text += &format!("{}\n", one_line(&summary::headline(report)));
    for remark in &report.remarks {
        text += &format!("note: {}\n", one_line(remark));
    }
    text.push('\n');
    let header = summary::header(report);
    let width = header.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in header {
        text += &format!("{name:width$}  {}\n", one_line(&value));
    }
    for table in summary::tables(report) {
        text.push('\n');
        print_table(&table, &mut text);
    }
    if let Some(verified) = report.verified.as_ref().filter(|all| !all.examples.is_empty()) {
        text += "\nFirst faults\n";
        verified.examples.iter().for_each(|fault| text += &format!("  {}\n", one_line(fault)));
    }
    text
}

/// Columns aligned by their widest cell: the first and words to the left, figures to the right.
pub fn print_table(table: &Table, text: &mut String) {
    *text += &format!("{}\n", table.title);
    let lines = || std::iter::once(&table.columns).chain(&table.rows);
    let widths: Vec<usize> = (0..table.columns.len())
        .map(|at| lines().map(|line| line[at].chars().count()).max().unwrap_or(0))
        .collect();
    let is_words: Vec<bool> = (0..table.columns.len())
        .map(|at| at == 0 || table.rows.iter().any(|row| is_sentence(&row[at])))
        .collect();
    for line in lines() {
        let mut out = String::from(" ");
        for ((cell, width), is_words) in line.iter().zip(&widths).zip(&is_words) {
            let cell = one_line(cell);
            let done = if *is_words {
                write!(out, " {cell:<width$} ")
            } else {
                write!(out, " {cell:>width$} ")
            };
            done.expect("a string takes any text");
        }
        *text += out.trim_end();
        text.push('\n');
    }
}

/// Not a figure with its unit.
pub fn is_sentence(cell: &str) -> bool {
    let is_figure = |first: char| first.is_ascii_digit() || matches!(first, '-' | '–' | '≈');
    cell != "none" && cell != "unknown" && !cell.starts_with(is_figure)
}

/// What others wrote cannot draw on the terminal: control characters are shown as such.
pub fn one_line(text: &str) -> String {
    let shown = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
    text.chars().map(shown).collect()
}
