//! Conditions that fail a run: `join_p99>1s`, `loss>1%`, `errors>0`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// A share, 0 to 1.
    Share,
    /// A number of things.
    Count,
    /// Bytes.
    Bytes,
    /// Bits per second.
    BitsPerSecond,
    /// Cores of a processor that are busy.
    Cores,
}

/// A figure of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: Unit,
}

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    text: String,
    name: String,
    operator: Operator,
    limit: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let operators = [
            (">=", Operator::MoreOrEqual),
            ("<=", Operator::LessOrEqual),
            (">", Operator::More),
            ("<", Operator::Less),
        ];
        let found = operators.iter().find_map(|(sign, operator)| Some((text.split_once(sign)?, *operator)));
        let ((name, limit), operator) =
            found.ok_or_else(|| format!("{text}: must be a name, one of < <= > >=, and a limit, as join_p99>1s"))?;
        let limit = number(limit.trim()).ok_or_else(|| format!("{text}: {limit} is no limit, as 1s, 80ms, 2% or 5"))?;
        Ok(Self { text: text.to_owned(), name: name.trim().to_owned(), operator, limit })
    }
}

impl Threshold {
    /// Why the run fails, if it does: the condition is met, or there is no such figure.
    pub(crate) fn verdict(&self, figures: &BTreeMap<String, Figure>) -> Result<(), String> {
        let Some(figure) = figures.get(&self.name) else {
            let known: Vec<_> = figures.keys().map(String::as_str).collect();
            return Err(format!("{}: this run has no {}; it has {}", self.text, self.name, known.join(", ")));
        };
        let met = match self.operator {
            Operator::Less => figure.value < self.limit,
            Operator::LessOrEqual => figure.value <= self.limit,
            Operator::More => figure.value > self.limit,
            Operator::MoreOrEqual => figure.value >= self.limit,
        };
        if met { Err(format!("{}: {} is {figure}", self.text, self.name)) } else { Ok(()) }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value;
        match self.unit {
            Unit::Seconds if value == 0.0 => f.write_str("0 s"),
            Unit::Seconds if value < 0.001 => write!(f, "{:.0} µs", value * 1e6),
            Unit::Seconds if value < 0.1 => write!(f, "{:.1} ms", value * 1e3),
            Unit::Seconds if value < 1.0 => write!(f, "{:.0} ms", value * 1e3),
            Unit::Seconds => write!(f, "{value:.2} s"),
            Unit::Share if value == 0.0 || value == 1.0 => write!(f, "{:.0} %", value * 100.0),
            Unit::Share if value > 0.0 && value < 0.001 => write!(f, "{:.4} %", value * 100.0),
            Unit::Share => write!(f, "{:.2} %", value * 100.0),
            Unit::Count => write!(f, "{value:.0}"),
            Unit::Bytes => write!(f, "{:.1} MB", value / 1e6),
            Unit::BitsPerSecond if value >= 1e6 => write!(f, "{:.1} Mbit/s", value / 1e6),
            Unit::BitsPerSecond => write!(f, "{:.0} kbit/s", value / 1e3),
            Unit::Cores => write!(f, "{:.0} % of a core", value * 100.0),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Threshold {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A number in basic units: seconds, shares, bytes.
fn number(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let value: f64 = text[..end].parse().ok()?;
    let factor = match text[end..].trim() {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        "m" => 60.0,
        "%" => 0.01,
        "k" | "K" => 1e3,
        "M" => 1e6,
        "MB" => 1e6,
        _ => return None,
    };
    Some(value * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> BTreeMap<String, Figure> {
        let figure = |value, unit| Figure { value, unit };
        [
            ("join_p99".to_owned(), figure(1.2, Unit::Seconds)),
            ("loss".to_owned(), figure(0.02, Unit::Share)),
            ("errors".to_owned(), figure(0.0, Unit::Count)),
        ]
        .into()
    }

    #[test]
    fn a_met_condition_fails_with_the_figure() {
        let verdict = |text: &str| text.parse::<Threshold>().unwrap().verdict(&figures());
        assert_eq!(verdict("join_p99>1s").unwrap_err(), "join_p99>1s: join_p99 is 1.20 s");
        assert_eq!(verdict("join_p99 > 1300ms"), Ok(()));
        assert!(verdict("loss>=2%").is_err());
        assert_eq!(verdict("loss>2%"), Ok(()));
        assert_eq!(verdict("errors>0"), Ok(()));
        assert!(verdict("errors<1").is_err());
    }

    #[test]
    fn an_unknown_figure_fails_and_says_what_there_is() {
        let reason = "jon_p99>1s".parse::<Threshold>().unwrap().verdict(&figures()).unwrap_err();
        assert!(reason.contains("no jon_p99") && reason.contains("join_p99"), "{reason}");
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        assert!("join_p99".parse::<Threshold>().unwrap_err().contains("join_p99>1s"));
        assert!("loss>much".parse::<Threshold>().unwrap_err().contains("limit"));
    }
}
