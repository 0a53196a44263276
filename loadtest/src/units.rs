//! Values with units as people write them: `60s`, `80ms`, `2%`, `5/s`, `1500k`. The same text stands on the command line
//! and in scenario files.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A time: a number with `us`, `ms`, `s`, `m` or `h`; seconds without a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A share of a whole, 0 to 1: `10%` or `0.1`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share(pub f64);

/// Events per second: `5/s`, `300/m`, or a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace(pub f64);

/// Bits per second: a number with `k` or `M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitRate(pub u64);

/// One of how many: `1/16`, `all` or `none`. The value is the number after the slash, 0 for `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample(pub u32);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text)?;
        let seconds = match unit {
            "us" | "µs" => number / 1e6,
            "ms" => number / 1e3,
            "" | "s" => number,
            "m" | "min" => number * 60.0,
            "h" => number * 3_600.0,
            _ => return Err(format!("{text}: a time ends in us, ms, s, m or h, as 80ms")),
        };
        Duration::try_from_secs_f64(seconds).map(Self).map_err(|_| format!("{text}: not a time"))
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text)?;
        let share = match unit {
            "%" => number / 100.0,
            "" => number,
            _ => return Err(format!("{text}: a share is written 2% or 0.02")),
        };
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err(format!("{text}: must be between 0% and 100%")) }
    }
}

impl FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text)?;
        let per_second = match unit {
            "" | "/s" => number,
            "/m" | "/min" => number / 60.0,
            _ => return Err(format!("{text}: a pace is written 5/s or 300/m")),
        };
        if per_second > 0.0 { Ok(Self(per_second)) } else { Err(format!("{text}: must be more than 0")) }
    }
}

impl FromStr for BitRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text)?;
        let bits = match unit {
            "" => number,
            "k" | "K" | "kbit/s" => number * 1e3,
            "M" | "Mbit/s" => number * 1e6,
            _ => return Err(format!("{text}: a bit rate is written 1500k or 2M")),
        };
        if bits >= 1.0 { Ok(Self(bits as u64)) } else { Err(format!("{text}: must be more than 0")) }
    }
}

impl FromStr for Sample {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self(1)),
            "none" => Ok(Self(0)),
            _ => text
                .strip_prefix("1/")
                .and_then(|n| n.parse().ok())
                .filter(|n| *n > 0)
                .map(Self)
                .ok_or_else(|| format!("{text}: must be all, none, or 1/16 for one of sixteen")),
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("none"),
            1 => f.write_str("all"),
            n => write!(f, "1/{n}"),
        }
    }
}

/// Number and unit.
fn split(text: &str) -> Result<(f64, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].parse().map_err(|_| format!("{text}: does not begin with a number"))?;
    Ok((number, text[end..].trim()))
}

/// From a text, or a number where one makes sense without a unit.
macro_rules! deserialize {
    ($($type:ty),+) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                #[serde(untagged)]
                enum Written {
                    Text(String),
                    Whole(u64),
                    Number(f64),
                }
                let text = match Written::deserialize(deserializer)? {
                    Written::Text(text) => text,
                    Written::Whole(number) => number.to_string(),
                    Written::Number(number) => number.to_string(),
                };
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
deserialize!(Span, Share, Pace, BitRate, Sample);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read() {
        assert_eq!("80ms".parse(), Ok(Span(Duration::from_millis(80))));
        assert_eq!("1.5m".parse(), Ok(Span(Duration::from_secs(90))));
        assert_eq!("10%".parse(), Ok(Share(0.1)));
        assert_eq!("300/m".parse(), Ok(Pace(5.0)));
        assert_eq!("1.5M".parse(), Ok(BitRate(1_500_000)));
        assert_eq!("1/16".parse(), Ok(Sample(16)));
        assert_eq!("all".parse(), Ok(Sample(1)));
    }

    #[test]
    fn wrong_ones_are_refused_with_the_right_form() {
        assert!("80".parse::<Span>().is_ok());
        assert!("80 parsecs".parse::<Span>().unwrap_err().contains("80ms"));
        assert!("101%".parse::<Share>().unwrap_err().contains("100%"));
        assert!("0/s".parse::<Pace>().is_err());
        assert!("fast".parse::<BitRate>().is_err());
        assert!("1/0".parse::<Sample>().is_err());
    }
}
