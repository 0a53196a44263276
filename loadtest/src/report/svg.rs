//! Line plots as SVG, drawn by hand: axes with round numbers, a few lines, a legend. Colours come from the page's style.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;
/// Points of a line at most; more are thinned out.
const POINTS: usize = 600;

/// One line: its name, its class in the style (`a`, `b`, `c`), and its points.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) class: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// What a plot shows.
pub(super) struct Plot<'a> {
    pub(super) x_label: &'a str,
    /// How a value of the y axis is written.
    pub(super) y_format: fn(f64) -> String,
    pub(super) x_format: fn(f64) -> String,
    pub(super) lines: Vec<Line<'a>>,
    /// A part of the x axis that stands out.
    pub(super) shade: Option<(f64, f64)>,
    /// The x axis' ends; `None`: those of the points.
    pub(super) x_range: Option<(f64, f64)>,
    /// The y axis reaches at least this.
    pub(super) y_at_least: f64,
}

impl Plot<'_> {
    /// The drawing; `None` when there are not two different points to draw a line through.
    pub(super) fn draw(&self) -> Option<String> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        points().next()?;
        let ends = || (f64::INFINITY, f64::NEG_INFINITY);
        let (x_low, x_high) = self
            .x_range
            .unwrap_or_else(|| points().fold(ends(), |(low, high), (value, _)| (low.min(*value), high.max(*value))));
        if x_high <= x_low {
            return None;
        }
        let y_most = points().map(|point| point.1).fold(self.y_at_least, f64::max).max(1e-12);
        let y_ticks = ticks(0.0, y_most * 1.05);
        let y_high = y_ticks.last().copied().unwrap_or(1.0).max(y_most * 1.02);
        let x = |value: f64| LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - value / y_high * (HEIGHT - TOP - BOTTOM);
        let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
        // Writing to a String cannot fail.
        if let Some((from, to)) = self.shade {
            let (from, to) = (x(from.max(x_low)), x(to.min(x_high)));
            let (width, height) = ((to - from).max(0.0), HEIGHT - TOP - BOTTOM);
            let _ = write!(
                out,
                "<rect class=\"shade\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"/>"
            );
        }
        for tick in &y_ticks {
            let (at, text) = (y(*tick), (self.y_format)(*tick));
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
                WIDTH - RIGHT
            );
            let _ = write!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", LEFT - 8.0, at + 4.0);
        }
        let base = HEIGHT - BOTTOM;
        for tick in ticks(x_low, x_high) {
            let (at, text) = (x(tick), (self.x_format)(tick));
            let _ =
                write!(out, "<line class=\"axis\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{base}\" y2=\"{}\"/>", base + 4.0);
            let _ = write!(out, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", base + 17.0);
        }
        let _ =
            write!(out, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{base}\" y2=\"{base}\"/>", WIDTH - RIGHT);
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        let _ =
            write!(out, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>", HEIGHT - 6.0, self.x_label);
        for line in &self.lines {
            let every = line.points.len().div_ceil(POINTS).max(1);
            let kept = line.points.iter().enumerate().filter(|(i, _)| i % every == 0 || i + 1 == line.points.len());
            let path: Vec<_> = kept.map(|(_, (px, py))| format!("{:.1},{:.1}", x(*px), y(*py))).collect();
            let _ = write!(out, "<polyline class=\"line {}\" points=\"{}\"/>", line.class, path.join(" "));
        }
        out.push_str("</svg>");
        if self.lines.len() > 1 {
            let keys: Vec<_> = self
                .lines
                .iter()
                .map(|line| format!("<span><i class=\"key {}\"></i>{}</span>", line.class, line.name))
                .collect();
            let _ = write!(out, "<p class=\"legend\">{}</p>", keys.join(""));
        }
        Some(out)
    }
}

/// Round numbers within a range, some five of them.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    if !(rough.is_finite() && rough > 0.0) {
        return vec![low];
    }
    let magnitude = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * magnitude).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|number| number as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(0.0, 10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(0.0, 1_234.0), [0.0, 250.0, 500.0, 750.0, 1_000.0]);
        assert_eq!(ticks(3.0, 3.0), [3.0]);
        for high in [1e-9, 0.3, 7.7, 1e12] {
            assert!((3..=11).contains(&ticks(0.0, high).len()), "{high}");
        }
    }

    #[test]
    fn a_plot_has_a_line_with_all_its_points_inside() {
        let line =
            Line { name: "x", class: "a", points: (0..2_000).map(|i| (f64::from(i), f64::from(i % 7))).collect() };
        let plot = Plot {
            x_label: "s",
            y_format: |value| value.to_string(),
            x_format: |value| value.to_string(),
            lines: vec![line],
            shade: Some((100.0, 5_000.0)),
            x_range: None,
            y_at_least: 0.0,
        };
        let svg = plot.draw().unwrap();
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let points: Vec<(f64, f64)> = points
            .split(' ')
            .map(|point| point.split_once(',').unwrap())
            .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
            .collect();
        assert!(points.len() <= POINTS + 1);
        assert!(points.iter().all(|(x, y)| (0.0..=WIDTH).contains(x) && (0.0..=HEIGHT).contains(y)));
        assert!(Plot { lines: vec![], ..plot }.draw().is_none());
    }
}
