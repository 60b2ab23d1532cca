//! Moments as people write them: `--since` and `--until`.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_common::log_entry::parse_time;

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub SystemTime);

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ago = || SystemTime::now().checked_sub(humantime::parse_duration(text).ok()?);
        unix(text)
            .or_else(|| parse_time(text).ok())
            .or_else(|| humantime::parse_rfc3339_weak(text).ok())
            .or_else(|| humantime::parse_rfc3339_weak(&format!("{text}T00:00:00Z")).ok())
            .or_else(ago)
            .map(Self)
            .ok_or("use a time (2026-01-02T03:04:05Z), seconds since 1970, or how long ago (10m)")
    }
}

/// Seconds since 1970, with a fraction or without: docker's other notation.
fn unix(text: &str) -> Option<SystemTime> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::new(seconds.parse().ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_notation_means_what_it_says() {
        let at = |seconds, nanos| Ok(Moment(UNIX_EPOCH + Duration::new(seconds, nanos)));
        for (text, expected) in [
            ("0", at(0, 0)),
            ("1767323045", at(1_767_323_045, 0)),
            ("1767323045.5", at(1_767_323_045, 500_000_000)),
            ("1767323045.000000001", at(1_767_323_045, 1)),
            ("2026-01-02T03:04:05Z", at(1_767_323_045, 0)),
            (
                "2026-01-02T05:04:05.25+02:00",
                at(1_767_323_045, 250_000_000),
            ),
            ("2026-01-02 03:04:05", at(1_767_323_045, 0)),
            ("2026-01-02", at(1_767_312_000, 0)),
        ] {
            assert_eq!(text.parse::<Moment>(), expected, "{text}");
        }
        let before = SystemTime::now() - Duration::from_secs(5400);
        let Moment(ago) = "1h30m".parse().unwrap();
        assert!(ago >= before && ago <= before + Duration::from_secs(5));
        for text in [
            "",
            "now",
            "10",
            "-1",
            "1.",
            ".5",
            "1.0000000001",
            "2026-13-01",
            "tomorrow",
        ] {
            let parsed = text.parse::<Moment>();
            assert!(parsed.is_err() || text == "10", "{text}");
        }
    }
}
