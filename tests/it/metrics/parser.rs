//! A strict parser of Prometheus' text format 0.0.4: what a scraper might forgive fails the test.

use std::collections::{BTreeMap, BTreeSet};

/// Families by name.
pub type Parsed = BTreeMap<String, ParsedFamily>;

#[derive(Debug)]
pub struct ParsedFamily {
    pub kind: String,
    /// Values by series: name and labels.
    pub samples: BTreeMap<Series, f64>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Series {
    /// The family's, with a suffix in a histogram.
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

impl Series {
    pub fn new(name: &str, labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { name: name.to_owned(), labels: labels.collect() }
    }
}

/// Parses a whole exposition; panics at the first breach of the format.
#[track_caller]
pub fn parse(text: &str) -> Parsed {
    assert!(text.ends_with('\n'), "the last line ends");
    let (mut families, mut current): (Parsed, Option<String>) = (BTreeMap::new(), None);
    let mut help: Option<String> = None;
    for line in text.strip_suffix('\n').unwrap().split('\n') {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert_eq!(help, None, "HELP without TYPE before {line}");
            let (name, text) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(!text.is_empty() && text.trim() == text, "{line}");
            unescape(text, false);
            help = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert_eq!(help.take().as_deref(), Some(name), "HELP precedes {line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(is_name(name, true), "{line}");
            assert!(current.as_deref() < Some(name), "{name} after {current:?}: sorted, and each family once");
            current = Some(name.to_owned());
            families.insert(name.to_owned(), ParsedFamily { kind: kind.to_owned(), samples: BTreeMap::new() });
        } else {
            assert_eq!(help, None, "HELP without TYPE before {line}");
            let (series, value) = sample(line);
            let name = current.as_ref().unwrap_or_else(|| panic!("no TYPE before {line}"));
            let family = families.get_mut(name).unwrap();
            let suffixes: &[_] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            let own = series.name.strip_prefix(name.as_str()).is_some_and(|suffix| suffixes.contains(&suffix));
            assert!(own, "{line} among the samples of {name}");
            assert!(family.samples.insert(series, value).is_none(), "twice: {line}");
        }
    }
    assert_eq!(help, None, "HELP at the end");
    for (name, family) in &families {
        assert!(!family.samples.is_empty(), "{name} has no sample");
        let labels: BTreeSet<Vec<&String>> =
            family.samples.keys().filter(|s| !s.name.ends_with("_bucket")).map(|s| s.labels.keys().collect()).collect();
        assert_eq!(labels.len(), 1, "{name}: every series has the same labels");
        if family.kind == "histogram" {
            check_histogram(name, family);
        }
    }
    families
}

/// Buckets only grow, end with `+Inf`, and agree with the count.
fn check_histogram(name: &str, family: &ParsedFamily) {
    let mut buckets: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    for (series, value) in family.samples.iter().filter(|(series, _)| series.name.ends_with("_bucket")) {
        let mut labels = series.labels.clone();
        let le = number(&labels.remove("le").unwrap_or_else(|| panic!("{series:?} without le")));
        buckets.entry(labels).or_default().push((le, *value));
    }
    for (labels, mut buckets) in buckets {
        buckets.sort_by(|(one, _), (two, _)| one.total_cmp(two));
        assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{name} {labels:?}: {buckets:?}");
        let (last, all) = buckets[buckets.len() - 1];
        let of = |suffix: &str| family.samples[&Series { name: format!("{name}{suffix}"), labels: labels.clone() }];
        assert_eq!((last, all), (f64::INFINITY, of("_count")), "{name} {labels:?}");
        assert!(of("_sum") >= 0.0, "{name} {labels:?}");
    }
}

fn is_name(name: &str, colons: bool) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || colons && c == ':';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// `name{label="value",...} value`, one blank, no timestamp.
#[track_caller]
fn sample(line: &str) -> (Series, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line:?}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name, true), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, quoted) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(label, false), "{line}");
            let mut end = 0;
            while !quoted[end..].starts_with('"') {
                end +=
                    if quoted[end..].starts_with('\\') { 2 } else { quoted[end..].chars().next().unwrap().len_utf8() };
            }
            assert!(labels.insert(label.to_owned(), unescape(&quoted[..end], true)).is_none(), "{line}");
            rest = &quoted[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').unwrap_or_else(|| panic!("{line}"));
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    assert!(!value.contains(' '), "one blank, no timestamp: {line}");
    (Series { name: name.to_owned(), labels }, number(value))
}

#[track_caller]
fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        _ => {
            assert!(text.starts_with(|c: char| c.is_ascii_digit() || c == '-'), "{text}");
            text.parse().unwrap_or_else(|_| panic!("no number: {text}"))
        }
    }
}

#[track_caller]
fn unescape(text: &str, quotes: bool) -> String {
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('\\') => '\\',
                Some('"') if quotes => '"',
                other => panic!("an unknown escape {other:?} in {text}"),
            },
            c => c,
        });
    }
    out
}

#[test]
fn a_breach_of_the_format_is_noticed() {
    let head = "# HELP a one\n# TYPE a gauge\n";
    let good = format!("{head}a{{b=\"c\\\"}} ,\",d=\"\"}} 1\n");
    let parsed = parse(&good);
    assert_eq!(parsed["a"].samples[&Series::new("a", &[("b", "c\"} ,"), ("d", "")])], 1.0);
    for bad in [
        "a 1\n",
        &format!("{head}a 1"),
        &format!("{head}b 1\n"),
        &format!("{head}a  1\n"),
        &format!("{head}a 1 5\n"),
        &format!("{head}a x\n"),
        &format!("{head}a 1\na 2\n"),
        &format!("{head}a 1\n{head}a{{b=\"c\"}} 1\n"),
        &format!("{head}a 1\na{{b=\"c\"}} 1\n"),
        &format!("{head}a{{b=\"\\c\"}} 1\n"),
        &format!("{head}a{{b=\"c\",b=\"d\"}} 1\n"),
        &format!("{head}a{{9=\"c\"}} 1\n"),
        &format!("{head}\na 1\n"),
        "# TYPE a gauge\na 1\n",
        "# HELP a one\na 1\n",
        head,
    ] {
        assert!(std::panic::catch_unwind(|| parse(bad)).is_err(), "{bad}");
    }
}
