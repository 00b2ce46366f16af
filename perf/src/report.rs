//! Reports of a run: all are made of one `Report`, and none lacks its header.

mod axes;
mod charts;
pub mod commands;
pub mod figures;
mod files;
mod hgrm;
mod hlog;
mod html;
pub mod json;
pub mod line;
pub mod model;
mod summary;
mod svg;
#[cfg(test)]
pub mod tests;
mod text;
pub mod units;

pub use charts::latency_by_percentile;
pub use files::{write_all, write_whole};
pub use html::Page;
pub use model::Report;
pub use summary::{Table, fact_words, header, invalid_reasons, loop_words};
pub use text::{one_line, print_table, render as render_text};
