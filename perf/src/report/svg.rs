//! Charts as inline SVG, without scripts; colours come from the page, so that light and dark both fit. Pure.

use super::axes::Axis;
use super::html::escape;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 68.0;
const RIGHT: f64 = 34.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 52.0;
/// Colours that the page has for series.
pub const COLOURS: usize = 6;

#[derive(Debug, PartialEq)]
pub struct Chart {
    pub title: String,
    /// What a reader should know to read it.
    pub note: String,
    pub height: f64,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
    /// Stretches of x, and what is shown when the pointer is over them.
    pub hovers: Vec<(f64, f64, String)>,
}

#[derive(Debug, PartialEq)]
pub struct Series {
    pub name: String,
    pub colour: usize,
    /// A plan that others are measured against: a broad band below them.
    pub is_plan: bool,
    pub points: Vec<(f64, f64)>,
    /// Points drawn as dots, with what is shown when the pointer is over them.
    pub dots: Vec<(f64, f64, String)>,
}

impl Chart {
    /// A figure of HTML: its title, the legend, and the drawing.
    pub fn render(&self) -> String {
        let mut out = format!("<figure>\n<figcaption><h3>{}</h3>", escape(&self.title));
        if !self.note.is_empty() {
            push(&mut out, format_args!("<p>{}</p>", escape(&self.note)));
        }
        out.push_str("<ul class=\"legend\">");
        for series in &self.series {
            let (class, name) = (series.class(), escape(&series.name));
            let line = "<svg viewBox=\"0 0 26 8\" aria-hidden=\"true\"><path d=\"M1 4H25\"/></svg>";
            push(&mut out, format_args!("<li class=\"{class}\">{line}{name}</li>"));
        }
        out.push_str("</ul></figcaption>\n");
        self.draw(&mut out);
        out.push_str("</figure>\n");
        out
    }

    fn draw(&self, out: &mut String) {
        let (title, height) = (escape(&self.title), self.height);
        push(
            out,
            format_args!(
                "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
                 aria-label=\"{title}\">\n"
            ),
        );
        self.draw_axes(out);
        // The first one is the one that matters most, so nothing is drawn over it.
        for series in self.series.iter().rev() {
            self.draw_series(series, out);
        }
        for (low, high, words) in &self.hovers {
            let (left, right) = (self.across(*low), self.across(*high));
            let (width, height) = (right - left, self.height - TOP - BOTTOM);
            push(
                out,
                format_args!(
                    "<rect class=\"hover\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" \
                     height=\"{height}\"><title>{}</title></rect>\n",
                    escape(words)
                ),
            );
        }
        out.push_str("</svg>\n");
    }

    fn draw_axes(&self, out: &mut String) {
        let (bottom, right) = (self.height - BOTTOM, WIDTH - RIGHT);
        for (value, name) in &self.y.ticks {
            let y = self.down(*value);
            let class = if name.is_empty() { "grid faint" } else { "grid" };
            push(out, format_args!("<path class=\"{class}\" d=\"M{LEFT} {y:.1}H{right}\"/>"));
            let (x, y) = (LEFT - 8.0, y + 4.0);
            push(
                out,
                format_args!("<text class=\"y\" x=\"{x}\" y=\"{y:.1}\">{}</text>\n", escape(name)),
            );
        }
        for (value, name) in &self.x.ticks {
            let x = self.across(*value);
            push(out, format_args!("<path class=\"grid faint\" d=\"M{x:.1} {TOP}V{bottom}\"/>"));
            let y = bottom + 20.0;
            push(
                out,
                format_args!("<text class=\"x\" x=\"{x:.1}\" y=\"{y}\">{}</text>\n", escape(name)),
            );
        }
        push(out, format_args!("<path class=\"base\" d=\"M{LEFT} {bottom}H{right}\"/>\n"));
        let (middle, low) = ((LEFT + right) / 2.0, self.height - 8.0);
        let (x_title, y_title) = (escape(&self.x.title), escape(&self.y.title));
        push(
            out,
            format_args!("<text class=\"x title\" x=\"{middle}\" y=\"{low}\">{x_title}</text>\n"),
        );
        let across = (TOP + bottom) / 2.0;
        push(
            out,
            format_args!(
                "<text class=\"x title\" transform=\"translate(14 {across}) rotate(-90)\">\
                 {y_title}</text>\n"
            ),
        );
    }

    fn draw_series(&self, series: &Series, out: &mut String) {
        let mut path = String::new();
        for (at, (x, y)) in series.points.iter().enumerate() {
            let letter = if at == 0 { 'M' } else { 'L' };
            push(&mut path, format_args!("{letter}{:.1} {:.1}", self.across(*x), self.down(*y)));
        }
        push(
            out,
            format_args!("<g class=\"{}\"><path class=\"line\" d=\"{path}\"/>", series.class()),
        );
        for (x, y, words) in &series.dots {
            let (x, y, words) = (self.across(*x), self.down(*y), escape(words));
            push(
                out,
                format_args!(
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"><title>{words}</title></circle>"
                ),
            );
        }
        out.push_str("</g>\n");
    }

    fn across(&self, value: f64) -> f64 {
        LEFT + self.x.position(value) * (WIDTH - LEFT - RIGHT)
    }

    fn down(&self, value: f64) -> f64 {
        self.height - BOTTOM - self.y.position(value) * (self.height - TOP - BOTTOM)
    }
}

impl Series {
    fn class(&self) -> String {
        let plan = if self.is_plan { " plan" } else { "" };
        format!("series s{}{plan}", self.colour % COLOURS)
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes any text");
}
