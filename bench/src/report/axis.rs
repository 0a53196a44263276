//! Axes: where their ticks are, where a value is between its ends, and how numbers are shown.

use serde::Serialize;

/// An axis of a plot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Axis {
    /// What is measured along it.
    pub label: String,
    /// In which unit; may be empty.
    pub unit: String,
    /// How far apart values are.
    pub scale: Scale,
}

/// How far apart the values of an axis are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// By their difference; the axis begins at zero.
    Linear,
    /// By their ratio; values that are not positive are left out.
    Log,
}

/// An axis with its ends and ticks settled.
#[derive(Clone, Debug)]
pub(super) struct Range {
    scale: Scale,
    low: f64,
    high: f64,
    /// Rising, all between the ends.
    pub(super) ticks: Vec<f64>,
}

/// Ticks of a linear axis, about.
const TICKS: f64 = 5.0;

impl Axis {
    /// An axis.
    pub fn new(label: &str, unit: &str, scale: Scale) -> Self {
        Self { label: label.to_owned(), unit: unit.to_owned(), scale }
    }

    /// Label and unit as they stand beside the axis.
    pub(super) fn caption(&self) -> String {
        if self.unit.is_empty() { self.label.clone() } else { format!("{}, {}", self.label, self.unit) }
    }

    /// The ends and ticks that show all of `values`; `None` if there is none to show.
    pub(super) fn range(&self, values: impl Iterator<Item = f64>) -> Option<Range> {
        let shown = values.filter(|&value| self.shows(value));
        let (low, high) = shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return None;
        }
        Some(match self.scale {
            Scale::Linear => linear(low.min(0.0), high),
            Scale::Log => logarithmic(low, high),
        })
    }

    /// Whether a value can be on this axis.
    pub(super) fn shows(&self, value: f64) -> bool {
        value.is_finite() && (self.scale == Scale::Linear || value > 0.0)
    }
}

impl Range {
    /// Where a value is: 0 at the low end, 1 at the high one.
    pub(super) fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        }
    }

    /// The low end.
    pub(super) fn low(&self) -> f64 {
        self.low
    }
}

fn linear(low: f64, high: f64) -> Range {
    let high = if high > low { high } else { low + 1.0 };
    let rough = (high - low) / TICKS;
    let magnitude = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * magnitude).find(|step| *step >= rough).unwrap_or(rough);
    let (first, last) = ((low / step).floor() as i64, (high / step - 1e-9).ceil() as i64);
    let ticks: Vec<_> = (first..=last).map(|n| n as f64 * step).collect();
    Range { scale: Scale::Linear, low: first as f64 * step, high: last as f64 * step, ticks }
}

fn logarithmic(low: f64, high: f64) -> Range {
    let decades = (high / low).log10();
    // Few decades have ticks in between, so that there is something to read a value by.
    let within: &[f64] = if decades < 1.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let all: Vec<_> = (first..=last).flat_map(|n| within.iter().map(move |m| m * 10f64.powi(n))).collect();
    let from = all.iter().rposition(|tick| *tick <= low * 1.000_001).unwrap_or(0);
    let to = all.iter().position(|tick| *tick >= high * 0.999_999).unwrap_or(all.len() - 1).max(from + 1);
    let mut ticks = all[from..=to.min(all.len() - 1)].to_vec();
    if ticks.len() == 1 {
        ticks.push(ticks[0] * 10.0);
    }
    let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
    // More decades than there is room for are named one in two or three.
    let every = ticks.len().div_ceil(9);
    let ticks = ticks.into_iter().step_by(every).collect();
    Range { scale: Scale::Log, low, high, ticks }
}

/// A number for a tick: short, with k, M or G for thousands, millions and milliards.
pub(super) fn compact(value: f64) -> String {
    let size = value.abs();
    let (scaled, suffix) = match size {
        s if s >= 1e9 => (value / 1e9, "G"),
        s if s >= 1e6 => (value / 1e6, "M"),
        s if s >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let decimals = if scaled.abs() >= 100.0 || scaled == 0.0 {
        0
    } else {
        (2 - scaled.abs().log10().floor() as i32).clamp(0, 6) as usize
    };
    let digits = format!("{scaled:.decimals$}");
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{digits}{suffix}")
}

/// A number with so many digits after the point and its thousands set apart.
pub(super) fn grouped(value: f64, decimals: usize) -> String {
    let digits = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let mut shown =
        String::from(if value < 0.0 && digits.bytes().any(|b| (b'1'..=b'9').contains(&b)) { "-" } else { "" });
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    if !fraction.is_empty() {
        shown.push('.');
        shown.push_str(fraction);
    }
    shown
}
