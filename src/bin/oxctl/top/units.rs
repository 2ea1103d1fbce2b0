//! Numbers for people: rates, bytes, shares and times in few columns.
//!
//! Owns how they look. Used by the modules of `top` that draw.

use std::time::Duration;

/// `value` with a prefix of `units` for powers of `base`, and about three digits.
fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let mut left = value;
    let mut unit = 0;
    while left >= base * 0.9995 && unit + 1 < units.len() {
        left /= base;
        unit += 1;
    }
    let decimals = usize::from(left < 99.95) + usize::from(left < 9.995);
    let decimals = if unit == 0 && left.fract() == 0.0 { 0 } else { decimals };
    format!("{left:.decimals$}{}", units[unit])
}

/// A count or a rate: 999, 1.23k, 45.6M.
pub(crate) fn count(value: f64) -> String {
    scaled(value, 1000.0, &["", "k", "M", "G", "T", "P", "E"])
}

/// Bytes: 999B, 1.23K, 64.0M, by powers of 1024.
pub(crate) fn bytes(value: f64) -> String {
    scaled(value, 1024.0, &["B", "K", "M", "G", "T", "P", "E"])
}

/// A share: `98.2%`, or a dash.
pub(crate) fn share(percent: Option<f64>) -> String {
    percent.map_or("-".to_owned(), |percent| format!("{percent:.1}%"))
}

/// Seconds as days and time of day: `3d 04:05:06`.
pub(crate) fn uptime(seconds: u64) -> String {
    let (days, hours, minutes, rest) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let days = if days == 0 { String::new() } else { format!("{days}d ") };
    format!("{days}{hours:02}:{minutes:02}:{rest:02}")
}

/// A short time: `0.5 s`, `12 s`.
pub(crate) fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 && (seconds * 10.0).round() % 10.0 != 0.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{seconds:.0} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let counts = [(0.0, "0"), (7.0, "7"), (7.25, "7.25"), (999.4, "999"), (999.9, "1.00k"), (1234.0, "1.23k")];
        for (value, text) in counts {
            assert_eq!(count(value), text);
        }
        assert_eq!(count(45_600_000.0), "45.6M");
        assert_eq!(count(1.8e19), "18.0E");
        assert_eq!(count(1e30), "1000000000000E");
        assert_eq!((bytes(1023.0), bytes(1023.9)), ("1023B".into(), "1.00K".into()));
        assert_eq!(bytes(67_108_864.0), "64.0M");
        assert_eq!(share(Some(98.25)), "98.2%");
        assert_eq!(uptime(3 * 86_400 + 4 * 3600 + 5 * 60 + 6), "3d 04:05:06");
        assert_eq!(
            (seconds(Duration::from_millis(500)), seconds(Duration::from_secs(12))),
            ("0.5 s".into(), "12 s".into())
        );
    }
}
