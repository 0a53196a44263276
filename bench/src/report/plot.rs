//! Plots and bars as SVG. Each is drawn for a fixed width with letters of a fixed size, once for wide pages and once
//! for narrow ones, since an SVG that is scaled down takes its letters along. Colours are classes of the page's style.

use std::fmt::Write as _;

use super::axis::{Range, compact};
use super::html::escape;
use super::{Bars, Plot, Series, Style};

/// Lines that the style has colours for; more begin anew.
pub(super) const COLOURS: usize = 8;

/// Sizes of a drawing, in CSS pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) width: f64,
    pub(super) height: f64,
    class: &'static str,
}

/// For pages of at least 760 px.
pub(super) const WIDE: Size = Size { width: 860.0, height: 340.0, class: "wide" };
/// For pages below that.
pub(super) const NARROW: Size = Size { width: 340.0, height: 260.0, class: "narrow" };

const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
const BAR_HEIGHT: f64 = 18.0;
const BAR_STEP: f64 = 44.0;
/// Width of a character, about.
const CHARACTER: f64 = 7.0;

/// Where values are in a drawing.
struct Frame {
    size: Size,
    x: Range,
    y: Range,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (self.size.width - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        self.size.height - BOTTOM - self.y.place(value) * (self.size.height - TOP - BOTTOM)
    }
}

/// A plot, or a sentence if there is nothing to draw.
pub(super) fn plot(plot: &Plot, size: Size) -> String {
    let shown = |series: &Series| -> Vec<_> {
        series.points.iter().copied().filter(|(x, y)| plot.x.shows(*x) && plot.y.shows(*y)).collect()
    };
    let lines: Vec<_> = plot.series.iter().map(shown).collect();
    let points = || lines.iter().flatten();
    let ranges = (plot.x.range(points().map(|point| point.0)), plot.y.range(points().map(|point| point.1)));
    let (Some(x), Some(y)) = ranges else {
        return format!("<p class=\"{}\">Nothing was measured.</p>", size.class);
    };
    let frame = Frame { size, x, y };
    let mut svg = open(size, &plot.title);
    axes(&mut svg, &frame, plot);
    for (at, (series, points)) in plot.series.iter().zip(&lines).enumerate() {
        line(&mut svg, &frame, at % COLOURS, series, points, plot);
    }
    svg + "</svg>"
}

/// Bars that lie, each under its name.
pub(super) fn bars(bars: &Bars, size: Size) -> String {
    let all: Vec<_> = bars.bars.iter().chain(&bars.reference).collect();
    let height = BAR_STEP * all.len() as f64 + 4.0;
    let most = all.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let mut svg = open(Size { height, ..size }, &bars.title);
    let label = |value: f64| format!("{} {}", compact(value), bars.unit);
    let widest = all.iter().map(|(_, value)| label(*value).chars().count()).max().unwrap_or(0) as f64 * CHARACTER;
    for (at, (name, value)) in all.iter().enumerate() {
        let top = BAR_STEP * at as f64;
        let width = (value / most * (size.width - widest - 12.0)).max(1.0);
        let class = if at < bars.bars.len() { "bar" } else { "bar reference" };
        let _ = write!(
            svg,
            "<text class=\"name\" x=\"0\" y=\"{:.1}\">{}</text><rect class=\"{class}\" x=\"0\" y=\"{:.1}\" \
             width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            top + 13.0,
            escape(name),
            top + 19.0,
            width + 8.0,
            top + 32.5,
            escape(&label(*value)),
        );
    }
    svg + "</svg>"
}

fn open(size: Size, title: &str) -> String {
    let Size { width, height, class } = size;
    format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
         aria-label=\"{}\">",
        escape(title)
    )
}

fn axes(svg: &mut String, frame: &Frame, plot: &Plot) {
    let Size { width, height, .. } = frame.size;
    for tick in &frame.y.ticks {
        let y = frame.y(*tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            width - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            compact(*tick)
        );
    }
    let bottom = height - BOTTOM;
    let mut free_from = f64::NEG_INFINITY;
    for tick in &frame.x.ticks {
        let (x, label) = (frame.x(*tick), compact(*tick));
        let _ =
            write!(svg, "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>", bottom + 4.0);
        // Labels that would run into each other are left out; their lines stay.
        let half = label.chars().count() as f64 * CHARACTER / 2.0;
        if x - half > free_from {
            let at = x.min(width - half);
            let _ = write!(svg, "<text class=\"middle\" x=\"{at:.1}\" y=\"{:.1}\">{label}</text>", bottom + 18.0);
            free_from = x + half + CHARACTER;
        }
    }
    let _ = write!(
        svg,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
         <text class=\"middle caption\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        width - RIGHT,
        f64::midpoint(LEFT, width - RIGHT),
        height - 6.0,
        escape(&plot.x.caption())
    );
}

fn line(svg: &mut String, frame: &Frame, colour: usize, series: &Series, points: &[(f64, f64)], plot: &Plot) {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
    let mut path = String::new();
    for (at, (x, y)) in points.iter().enumerate() {
        let (x, y) = (frame.x(*x), frame.y(*y));
        let _ = match (at, series.style) {
            (0, _) => write!(path, "M{x:.1} {y:.1}"),
            (_, Style::Steps) => write!(path, "H{x:.1}V{y:.1}"),
            _ => write!(path, "L{x:.1} {y:.1}"),
        };
    }
    let dashes = if series.style == Style::Reference { " dashed" } else { "" };
    if series.style == Style::Steps {
        let floor = frame.y(frame.y.low());
        let area = format!("{path}V{floor:.1}H{:.1}Z", frame.x(first.0));
        let _ = write!(svg, "<path class=\"area c{colour}\" d=\"{area}\"/>");
    }
    if points.len() > 1 {
        let _ = write!(svg, "<path class=\"line c{colour}{dashes}\" d=\"{path}\"/>");
    }
    let marked: &[_] = match series.style {
        Style::Marked => points,
        _ if points.len() == 1 => std::slice::from_ref(last),
        _ => &[],
    };
    for (x, y) in marked {
        let _ = write!(
            svg,
            "<circle class=\"c{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"><title>{}: {} {} at {} {}</title></circle>",
            frame.x(*x),
            frame.y(*y),
            escape(&series.name),
            compact(*y),
            escape(&plot.y.unit),
            compact(*x),
            escape(&plot.x.unit),
        );
    }
}
