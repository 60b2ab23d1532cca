//! Amounts as people read them.

use std::time::Duration;

/// A share as people read it.
pub fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

/// Processor time as `ps` shows it, and hundredths.
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = format!("{:02}.{:02}", seconds % 60, time.subsec_millis() / 10);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{rest}")
    } else {
        format!("{minutes}:{rest}")
    }
}

/// Bytes in the largest unit that leaves a number before the point.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be shown as 1024 of one unit is 1 of the next.
    while amount >= 1023.95 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_as_people_read_them() {
        for (bytes, wanted) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (7_471_104, "7.1MiB"),
            ((1 << 20) - 1, "1.0MiB"),
            (64 << 20, "64.0MiB"),
            (u64::MAX, "16.0EiB"),
        ] {
            assert_eq!(size(bytes), wanted);
        }
        assert_eq!(time(Duration::from_millis(71)), "0:00.07");
        assert_eq!(time(Duration::from_secs(3599)), "59:59.00");
        assert_eq!(time(Duration::from_secs(100 * 3600 + 61)), "100:01:01.00");
        assert_eq!(percent(1.5), "150.00%");
    }
}
