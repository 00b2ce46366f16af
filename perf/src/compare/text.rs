//! A comparison on the terminal: objections first, then the ratios, then what is behind them. Pure.

use super::Comparison;
use crate::report::{one_line, print_table};

pub fn render(comparison: &Comparison) -> String {
    let mut text = String::new();
    if !comparison.objections.is_empty() {
        text += "NOT COMPARABLE, compared by --force:\n";
        comparison.objections.iter().for_each(|words| text += &format!("  {}\n", one_line(words)));
        text.push('\n');
    }
    text += &format!("{}\n\n", one_line(&comparison.headline()));
    print_table(&comparison.ratios(), &mut text);
    text.push('\n');
    comparison.remarks().iter().for_each(|remark| text += &format!("note: {}\n", one_line(remark)));
    text.push('\n');
    print_table(&comparison.headers(), &mut text);
    text
}
