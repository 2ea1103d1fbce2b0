//! Prometheus' text format 0.0.4.
//!
//! Owns its notation: `HELP` and `TYPE` lines, labels, values. Knows no family and no statistic.

use super::family::Family;
use crate::metric::MetricValue;
use std::fmt::{self, Display, Write};

/// Largest integer that is printed. A greater one is a difference that has wrapped.
const INTEGER_MAX: i128 = i64::MAX as i128;

/// Labels of a sample: names that need no escape, and values of any characters.
pub(super) type Labels<'a> = [(&'static str, &'a dyn Display)];

/// Samples of one family; its `HELP` and `TYPE` lines precede the first.
pub(super) struct Samples<'a> {
    family: &'a Family,
    out: &'a mut String,
    begun: bool,
}

/// A value that can be printed: switches as 1 and 0. `None` for texts, negative numbers and those beyond
/// [`INTEGER_MAX`].
pub(super) fn number(value: MetricValue<'_>) -> Option<MetricValue<'static>> {
    match value {
        MetricValue::Integer(n) => (0..=INTEGER_MAX).contains(&n).then_some(MetricValue::Integer(n)),
        MetricValue::Ratio(ratio) => Some(MetricValue::Ratio(ratio)),
        MetricValue::Seconds(time) => Some(MetricValue::Seconds(time)),
        MetricValue::Switch(on) => Some(u32::from(on).into()),
        MetricValue::Text(_) => None,
    }
}

impl<'a> Samples<'a> {
    pub(super) fn new(family: &'a Family, out: &'a mut String) -> Self {
        Self { family, out, begun: false }
    }

    /// Appends a sample, unless its value is no [`number`].
    pub(super) fn put(&mut self, labels: &Labels<'_>, value: MetricValue<'_>) {
        if let Some(value) = number(value) {
            let _ = self.sample("", labels, None, &value);
        }
    }

    /// Appends a sample with a finite value.
    pub(super) fn put_float(&mut self, labels: &Labels<'_>, value: f64) {
        let _ = self.sample("", labels, None, &value);
    }

    /// Appends the samples of a histogram: for each upper bound the number of values up to it, in rising order; then
    /// the number of all values, and their sum.
    pub(super) fn put_histogram<'b>(
        &mut self,
        labels: &Labels<'_>,
        buckets: impl Iterator<Item = (&'b dyn Display, u64)>,
        (count, sum): (u64, &dyn Display),
    ) {
        let write = || {
            let end: (&dyn Display, _) = (&"+Inf", count);
            for (bound, count) in buckets.chain([end]) {
                self.sample("_bucket", labels, Some(bound), &count)?;
            }
            self.sample("_sum", labels, None, sum)?;
            self.sample("_count", labels, None, &count)
        };
        let _ = write();
    }

    /// A `String` takes everything: this never fails.
    fn sample(
        &mut self,
        suffix: &str,
        labels: &Labels<'_>,
        bound: Option<&dyn Display>,
        value: &dyn Display,
    ) -> fmt::Result {
        let (Family { name, kind, help, .. }, out) = (self.family, &mut *self.out);
        if !self.begun {
            self.begun = true;
            write!(out, "# HELP {name} ")?;
            Escaped { out, quotes: false }.write_str(help)?;
            writeln!(out, "\n# TYPE {name} {}", kind.name())?;
        }
        write!(out, "{name}{suffix}")?;
        let mut before = '{';
        let bound = bound.map(|bound| ("le", bound));
        for (label, text) in labels.iter().copied().chain(bound) {
            write!(out, "{before}{label}=\"")?;
            write!(Escaped { out, quotes: true }, "{text}")?;
            out.push('"');
            before = ',';
        }
        out.push_str(if before == '{' { " " } else { "} " });
        writeln!(out, "{value}")
    }
}

/// Escapes what is written to it: backslashes, line feeds and, in the value of a label, quotes.
struct Escaped<'a> {
    out: &'a mut String,
    quotes: bool,
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '"' if self.quotes => self.out.push_str("\\\""),
                c => self.out.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::family::{SampleSource, gauge};
    use super::*;

    #[test]
    fn labels_and_help_are_escaped() {
        let family = gauge("a", "one \\ two\n\"three\"", SampleSource::Constant(1));
        let mut text = String::new();
        let mut samples = Samples::new(&family, &mut text);
        samples.put(&[("b", &"c\\d\ne\"f"), ("g", &7)], 8_u64.into());
        samples.put(&[], true.into());
        let expected = "# HELP a one \\\\ two\\n\"three\"\n# TYPE a gauge\na{b=\"c\\\\d\\ne\\\"f\",g=\"7\"} 8\na 1\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_no_number_has_no_sample() {
        let family = gauge("a", "b", SampleSource::Constant(1));
        let mut text = String::new();
        let mut samples = Samples::new(&family, &mut text);
        let wrapped = 3_u64.wrapping_sub(5);
        for value in [wrapped.into(), (-1_i64).into(), MetricValue::Text("none")] {
            samples.put(&[], value);
        }
        assert_eq!(text, "", "without a sample there is no head either");
        Samples::new(&family, &mut text).put(&[], i64::MAX.into());
        assert!(text.ends_with("\na 9223372036854775807\n"), "{text}");
    }
}
