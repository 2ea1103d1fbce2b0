//! The tables of `top`: commands, slab classes, and the reports that memcached lacks.
//!
//! Owns their columns. Must not know the terminal. Used by `draw`.

use super::snapshot::{SPECIAL, Snapshot, SnapshotDelta, percent};
use super::units::{bytes, count, share};
use crate::grid::{Grid, ShapedReport};

/// A command's name, its counters, and those of its hits and misses.
type CommandRow = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

const COMMANDS: [CommandRow; 9] = [
    ("get", &["cmd_get"], &["get_hits"], &["get_misses"]),
    ("set", &["cmd_set"], &[], &[]),
    ("meta", &["cmd_meta"], &[], &[]),
    ("touch", &["cmd_touch"], &["touch_hits"], &["touch_misses"]),
    ("delete", &["delete_hits", "delete_misses"], &["delete_hits"], &["delete_misses"]),
    ("incr", &["incr_hits", "incr_misses"], &["incr_hits"], &["incr_misses"]),
    ("decr", &["decr_hits", "decr_misses"], &["decr_hits"], &["decr_misses"]),
    ("cas", &["cas_hits", "cas_misses", "cas_badval"], &["cas_hits"], &["cas_misses", "cas_badval"]),
    ("flush", &["cmd_flush"], &[], &[]),
];

/// A line for each command that the server counts.
pub(crate) fn commands(snapshot: &Snapshot, delta: Option<SnapshotDelta<'_>>) -> Grid {
    let mut grid = Grid::new(&["command", "per s", "hits/s", "misses/s", "hit ratio", "total"]);
    for (name, all, hits, misses) in COMMANDS {
        if !snapshot.has(all[0]) {
            continue;
        }
        let rate = |names: &[&str]| match delta {
            Some(delta) if !names.is_empty() => count(delta.rate(names)),
            _ => "-".to_owned(),
        };
        let ratio =
            delta.filter(|_| !hits.is_empty()).and_then(|delta| percent(delta.growth(hits), delta.growth(misses)));
        let total = count(snapshot.sum(all) as f64);
        grid.lines.push(vec![name.to_owned(), rate(all), rate(hits), rate(misses), share(ratio), total]);
    }
    grid
}

/// Columns of the classes' table.
pub(crate) const CLASS_COLUMNS: [&str; 10] =
    ["class", "size", "pages", "items", "in use", "gets/s", "sets/s", "evict/s", "oldest", "no memory"];

/// A line for each class that has pages, sorted by the column `sort`.
pub(crate) fn classes(snapshot: &Snapshot, delta: Option<SnapshotDelta<'_>>, sort: usize, descending: bool) -> Grid {
    let mut lines: Vec<[Option<f64>; CLASS_COLUMNS.len()]> = Vec::new();
    for (&class, rows) in &snapshot.classes {
        let row = |name: &str| rows.get(name).copied().unwrap_or(0);
        if row("total_pages") == 0 {
            continue;
        }
        let rate = |name: &str| delta.map(|delta| delta.class_rate(class, name));
        let (used, free) = (row("used_chunks"), row("total_chunks").saturating_sub(row("used_chunks")));
        let number = |value: u64| Some(value as f64);
        lines.push([
            number(class),
            number(row("chunk_size")),
            number(row("total_pages")),
            number(row("number")),
            percent(used, free),
            rate("get_hits"),
            rate("cmd_set"),
            rate("evicted"),
            number(row("age")),
            number(row("outofmemory")),
        ]);
    }
    let key = |line: &[Option<f64>]| line.get(sort).copied().flatten().unwrap_or(-1.0);
    // Stable: equal lines stay in the order of their classes.
    lines.sort_by(|a, b| if descending { key(b).total_cmp(&key(a)) } else { key(a).total_cmp(&key(b)) });
    let mut grid = Grid::new(&CLASS_COLUMNS);
    for line in lines {
        let cell = |(column, value): (usize, &Option<f64>)| match (column, value) {
            (4, value) => share(*value),
            (_, None) => "-".to_owned(),
            (0, Some(value)) => value.to_string(),
            (1, Some(value)) => bytes(*value),
            (8, Some(value)) => format!("{value}s"),
            (_, Some(value)) => count(*value),
        };
        grid.lines.push(line.iter().enumerate().map(cell).collect());
    }
    grid
}

/// What is wrong with the server, in words.
pub(crate) fn alarms(snapshot: &Snapshot, delta: Option<SnapshotDelta<'_>>) -> Vec<String> {
    const GROWING: [(&str, &str); 5] = [
        ("rejected_connections", "connections refused"),
        ("rejected_connections_per_ip", "connections of one address refused"),
        ("store_no_memory", "stores refused: no memory"),
        ("auth_errors", "logins refused"),
        ("log_lines_dropped", "log lines lost"),
    ];
    let mut alarms = Vec::new();
    if snapshot.has("accepting_conns") && snapshot.number("accepting_conns") == 0 {
        alarms.push("accepts no connections".to_owned());
    }
    for (name, words) in GROWING {
        let growth = delta.map_or(0, |delta| delta.growth(&[name]));
        if growth > 0 {
            alarms.push(format!("{growth} {words}"));
        }
    }
    alarms
}

/// One of the special reports; `None`: the server lacks it.
pub(crate) fn special(snapshot: &Snapshot, number: usize) -> Option<ShapedReport> {
    snapshot.special.get(number)?.as_ref().map(|rows| ShapedReport::of(rows))
}

/// The words for a server that lacks a special report.
pub(crate) fn absent(number: usize) -> String {
    let name = SPECIAL.get(number).copied().unwrap_or_default();
    format!("This server has no 'stats {name}'. memcached has none, oxcached has.")
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::tests::snapshot;
    use super::*;
    use std::time::Instant;

    #[test]
    fn commands_have_rates_and_ratios() {
        let start = Instant::now();
        let general = |gets: &'static str, hits: &'static str, misses: &'static str| {
            [("cmd_get", gets), ("get_hits", hits), ("get_misses", misses), ("cmd_set", "5")]
        };
        let old = snapshot(start, 0, &general("0", "0", "0"), &[], [None; 3]);
        let new = snapshot(start, 2, &general("100", "75", "25"), &[], [None; 3]);
        let grid = commands(&new, SnapshotDelta::of(&old, &new));
        assert_eq!(grid.lines.len(), 2);
        assert_eq!(grid.lines[0], ["get", "50", "37.5", "12.5", "75.0%", "100"]);
        assert_eq!(grid.lines[1], ["set", "0", "-", "-", "-", "5"]);
        assert_eq!(commands(&new, None).lines[0], ["get", "-", "-", "-", "-", "100"]);
    }

    #[test]
    fn what_is_wrong_is_told_in_words() {
        let start = Instant::now();
        let old = snapshot(start, 0, &[("accepting_conns", "1"), ("store_no_memory", "5")], &[], [None; 3]);
        let new = snapshot(start, 1, &[("accepting_conns", "0"), ("store_no_memory", "7")], &[], [None; 3]);
        assert!(alarms(&old, None).is_empty() && alarms(&snapshot(start, 0, &[], &[], [None; 3]), None).is_empty());
        assert_eq!(
            alarms(&new, SnapshotDelta::of(&old, &new)),
            ["accepts no connections", "2 stores refused: no memory"]
        );
    }

    #[test]
    fn classes_are_sorted_by_any_column() {
        let class = |size, items| {
            [("total_pages", 1), ("chunk_size", size), ("number", items), ("used_chunks", items), ("total_chunks", 8)]
        };
        let (one, two, three) = (class(96, 4), class(2048, 8), class(120, 0));
        let shown =
            snapshot(Instant::now(), 0, &[], &[(1, &one), (2, &two), (3, &three), (4, &[("number", 9)])], [None; 3]);
        let order = |sort, descending| -> Vec<String> {
            classes(&shown, None, sort, descending).lines.into_iter().map(|line| line[0].clone()).collect()
        };
        assert_eq!(order(0, false), ["1", "2", "3"]);
        assert_eq!(order(1, true), ["2", "3", "1"]);
        assert_eq!(order(4, false), ["3", "1", "2"]);
        (0..CLASS_COLUMNS.len() + 1).for_each(|sort| assert_eq!(order(sort, true).len(), 3));
        assert_eq!(classes(&shown, None, 0, false).lines[1][1..5], ["2.00K", "1", "8", "100.0%"]);
    }
}
