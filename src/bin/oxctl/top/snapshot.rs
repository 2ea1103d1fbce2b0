//! What a server tells about itself at one moment, and the difference of two such moments.
//!
//! Owns which reports are read, and arithmetic on their rows. Must not know the terminal. Used by the modules of `top`.

use crate::connection::{Connection, ServerAccess};
use crate::failure::Failure;
use crate::report::{self, Reply, ReportRow, SHORT_REPORT_MAX};
use std::collections::BTreeMap;
use std::time::Instant;

/// Reports that memcached does not have, each for the pane of its name.
pub(crate) const SPECIAL: [&str; 3] = ["latency", "hotkeys", "slow"];

/// The rows of one slab class, by name.
pub(crate) type ClassRows = BTreeMap<String, u64>;

/// One look at a server.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) at: Instant,
    general: BTreeMap<String, String>,
    pub(crate) classes: BTreeMap<u64, ClassRows>,
    /// The reports of [`SPECIAL`]; `None`: the server lacks it.
    pub(crate) special: [Option<Vec<ReportRow>>; SPECIAL.len()],
}

/// A connection that is asked again and again.
pub(crate) struct SnapshotReader {
    connection: Connection,
    /// Reports of [`SPECIAL`] that this server lacks.
    lacks: [bool; SPECIAL.len()],
}

impl SnapshotReader {
    /// # Errors
    /// Those of [`Connection::open`].
    pub(crate) fn open(access: &ServerAccess) -> Result<Self, Failure> {
        Ok(Self { connection: Connection::open(access)?, lacks: [false; SPECIAL.len()] })
    }

    /// Reads all reports, within the timeout.
    ///
    /// # Errors
    /// [`Failure::Unavailable`]; [`Failure::Refused`] for a server that has no statistics.
    pub(crate) fn read(&mut self) -> Result<Snapshot, Failure> {
        self.connection.restart_timeout();
        let general = self.rows("")?;
        let mut classes = BTreeMap::new();
        add_classes(&self.rows("items")?, "items:", &mut classes);
        add_classes(&self.rows("slabs")?, "", &mut classes);
        let mut special = [const { None }; SPECIAL.len()];
        for (number, name) in SPECIAL.into_iter().enumerate() {
            if self.lacks[number] {
                continue;
            }
            match report::ask(&mut self.connection, name, SHORT_REPORT_MAX)? {
                Reply::Rows(rows) => special[number] = Some(rows),
                Reply::Word(_) | Reply::Error(_) => self.lacks[number] = true,
            }
        }
        let general = report::pairs(&general).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Snapshot { at: Instant::now(), general, classes, special })
    }

    fn rows(&mut self, what: &str) -> Result<Vec<ReportRow>, Failure> {
        match report::ask(&mut self.connection, what, SHORT_REPORT_MAX)? {
            Reply::Rows(rows) => Ok(rows),
            Reply::Word(line) | Reply::Error(line) => Err(report::refused(self.connection.address(), what, &line)),
        }
    }
}

/// Adds the rows `CLASS:NAME` behind `prefix` to the classes.
fn add_classes(rows: &[ReportRow], prefix: &str, classes: &mut BTreeMap<u64, ClassRows>) {
    for (name, value) in report::pairs(rows) {
        let row = name.strip_prefix(prefix).and_then(|name| name.split_once(':'));
        if let Some((class, name)) = row
            && let (Ok(class), Ok(value)) = (class.parse(), value.parse())
        {
            classes.entry(class).or_default().insert(name.to_owned(), value);
        }
    }
}

impl Snapshot {
    /// A row of plain `stats`; empty if there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.general.get(name).map_or("", String::as_str)
    }

    /// A row of plain `stats`; 0 if there is none.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.general.contains_key(name)
    }

    pub(crate) fn sum(&self, names: &[&str]) -> u64 {
        names.iter().fold(0, |sum, name| sum.saturating_add(self.number(name)))
    }
}

/// A share in percent; `None` of nothing.
pub(crate) fn percent(part: u64, rest: u64) -> Option<f64> {
    let whole = part as f64 + rest as f64;
    (whole > 0.0).then(|| 100.0 * part as f64 / whole)
}

/// Two looks at the same run of a server.
#[derive(Clone, Copy)]
pub(crate) struct SnapshotDelta<'a> {
    old: &'a Snapshot,
    new: &'a Snapshot,
    seconds: f64,
}

impl<'a> SnapshotDelta<'a> {
    /// `None` if the server has restarted in between, or no time has passed.
    pub(crate) fn of(old: &'a Snapshot, new: &'a Snapshot) -> Option<Self> {
        let seconds = new.at.saturating_duration_since(old.at).as_secs_f64();
        let is_same_run = old.text("pid") == new.text("pid") && old.number("uptime") <= new.number("uptime");
        (seconds > 0.0 && is_same_run).then_some(Self { old, new, seconds })
    }

    /// How much a counter has grown. A reset of the statistics counts as a start from 0.
    pub(crate) fn growth(&self, names: &[&str]) -> u64 {
        let (old, new) = (self.old.sum(names), self.new.sum(names));
        if new < old { new } else { new - old }
    }

    /// Growth a second.
    pub(crate) fn rate(&self, names: &[&str]) -> f64 {
        self.growth(names) as f64 / self.seconds
    }

    /// Growth a second of a class's counter.
    pub(crate) fn class_rate(&self, class: u64, name: &str) -> f64 {
        let value = |snapshot: &Snapshot| snapshot.classes.get(&class).and_then(|rows| rows.get(name)).copied();
        let (old, new) = (value(self.old).unwrap_or(0), value(self.new).unwrap_or(0));
        (if new < old { new } else { new - old }) as f64 / self.seconds
    }

    /// Hits among the lookups between the two, in percent.
    pub(crate) fn hit_percent(&self) -> Option<f64> {
        percent(self.growth(&["get_hits"]), self.growth(&["get_misses"]))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::time::Duration;

    /// A snapshot `after` seconds, with rows of `stats`, of classes, and special reports.
    pub(crate) fn snapshot(
        start: Instant,
        after: u64,
        general: &[(&str, &str)],
        classes: &[(u64, &[(&str, u64)])],
        special: [Option<&[(&str, &str)]>; SPECIAL.len()],
    ) -> Snapshot {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let rows =
            |rows: &[(&str, &str)]| rows.iter().map(owned).map(|(name, value)| ReportRow::Stat(name, value)).collect();
        Snapshot {
            at: start + Duration::from_secs(after),
            general: general.iter().map(owned).collect(),
            classes: classes
                .iter()
                .map(|(class, rows)| (*class, rows.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()))
                .collect(),
            special: special.map(|report| report.map(rows)),
        }
    }

    fn plain(start: Instant, after: u64, general: &[(&str, &str)]) -> Snapshot {
        snapshot(start, after, general, &[], [None; SPECIAL.len()])
    }

    #[test]
    fn rates_are_differences_over_time() {
        let start = Instant::now();
        let old = plain(start, 0, &[("pid", "7"), ("uptime", "100"), ("get_hits", "10"), ("get_misses", "10")]);
        let new = plain(start, 2, &[("pid", "7"), ("uptime", "102"), ("get_hits", "40"), ("get_misses", "20")]);
        let delta = SnapshotDelta::of(&old, &new).unwrap();
        assert_eq!(delta.rate(&["get_hits"]), 15.0);
        assert_eq!(delta.rate(&["get_hits", "get_misses"]), 20.0);
        assert_eq!(delta.hit_percent(), Some(75.0));
        assert_eq!(delta.rate(&["absent"]), 0.0);
    }

    #[test]
    fn restarts_have_no_rate_and_resets_no_negative_one() {
        let start = Instant::now();
        let old = plain(start, 0, &[("pid", "7"), ("uptime", "100"), ("get_hits", "10")]);
        assert!(SnapshotDelta::of(&old, &plain(start, 1, &[("pid", "8"), ("uptime", "100")])).is_none());
        assert!(SnapshotDelta::of(&old, &plain(start, 1, &[("pid", "7"), ("uptime", "1")])).is_none());
        assert!(SnapshotDelta::of(&old, &old.clone()).is_none());
        let reset = plain(start, 1, &[("pid", "7"), ("uptime", "101"), ("get_hits", "4")]);
        assert_eq!(SnapshotDelta::of(&old, &reset).unwrap().rate(&["get_hits"]), 4.0);
        assert_eq!(SnapshotDelta::of(&old, &reset).unwrap().hit_percent(), Some(100.0));
    }

    #[test]
    fn classes_are_collected_from_both_reports() {
        let rows = |rows: &[(&str, &str)]| -> Vec<ReportRow> {
            rows.iter().map(|(name, value)| ReportRow::Stat((*name).to_owned(), (*value).to_owned())).collect()
        };
        let mut classes = BTreeMap::new();
        add_classes(&rows(&[("items:3:number", "5"), ("items:x:number", "5")]), "items:", &mut classes);
        add_classes(&rows(&[("3:total_pages", "1"), ("active_slabs", "1"), ("3:odd", "x")]), "", &mut classes);
        let expected = ClassRows::from([("number".to_owned(), 5), ("total_pages".to_owned(), 1)]);
        assert_eq!(classes, BTreeMap::from([(3, expected)]));
    }
}
