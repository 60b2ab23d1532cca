//! Sizes as people write them, as runc and docker take them (docker's `RAMInBytes`): `64M`, `64MiB` and `64mb` are all 64 × 1024².

/// A size, or -1 for no limit.
///
/// # Errors
/// It is neither.
pub fn limit(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let wrong = || "give bytes, or a size such as 64M or 1.5GiB, or -1 for no limit".to_owned();
    parse(text).ok_or_else(wrong)
}

/// A size.
///
/// # Errors
/// It is none.
pub fn bytes(text: &str) -> Result<u64, String> {
    let size = parse(text).and_then(|size| u64::try_from(size).ok());
    size.ok_or_else(|| "give bytes, or a size such as 64M or 1.5GiB".to_owned())
}

fn parse(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let unit = unit.trim_start().to_ascii_lowercase();
    let letter = unit.trim_end_matches('b').trim_end_matches('i');
    let power: u32 = match (letter, &*unit) {
        ("", "" | "b") => 0,
        ("k", _) => 1,
        ("m", _) => 2,
        ("g", _) => 3,
        ("t", _) => 4,
        ("p", _) => 5,
        _ => return None,
    };
    if !["", "b", "i", "ib"].contains(&&unit[letter.len()..]) {
        return None;
    }
    let scale = 1_i64 << (10 * power);
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(scale);
    }
    let fraction: f64 = number.parse().ok()?;
    let bytes = fraction * scale as f64;
    // Of a fraction of a unit nobody means the last byte.
    #[expect(clippy::cast_possible_truncation, reason = "the range is that of i64")]
    (0.0..9e18).contains(&bytes).then_some(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_taken_as_runc_takes_them() {
        for (text, wanted) in [
            ("-1", -1),
            ("0", 0),
            ("1234", 1234),
            ("32b", 32),
            ("2k", 2048),
            ("64M", 64 << 20),
            ("64MiB", 64 << 20),
            ("64 mb", 64 << 20),
            ("1.5g", 3 << 29),
            ("1T", 1 << 40),
            ("4Pi", 1 << 52),
        ] {
            assert_eq!(limit(text), Ok(wanted), "{text}");
            assert_eq!(bytes(text).ok(), u64::try_from(wanted).ok(), "{text}");
        }
        for text in [
            "", "-2", "M", "1X", "1.2.3", "1 2", "64MM", "1bi", "i", "5i", "9999999P", "1e3", "٣",
        ] {
            assert!(limit(text).is_err() && bytes(text).is_err(), "{text}");
        }
    }
}
