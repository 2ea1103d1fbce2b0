//! Owns docs/benchmarks.md: the page that is made of the JSON files of `--json` and of `scripts/hitratio --json`.
//! Called by `main`; [`crate::chart`] draws its charts.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::report::{Spread, figures, plain_ratios, ratios, servers, word};
use crate::{Outcome, chart};

/// Writes page and charts from `files`. A row that several files have is that of the last one; all must be of one
/// machine and the same programs.
pub fn write(files: &[PathBuf]) -> Outcome<()> {
    let mut roots = Vec::new();
    for path in files {
        let text = fs::read_to_string(path).map_err(|problem| format!("{}: {problem}", path.display()))?;
        roots.push(serde_json::from_str::<Value>(&text)?);
    }
    let first = roots.first().ok_or("page: no files")?;
    for (root, path) in roots.iter().zip(files) {
        for name in ["oxcached", "memcached"] {
            if root["machine"] != first["machine"] || root["versions"][name] != first["versions"][name] {
                return Err(
                    format!("{}: of another machine or other programs than the first file", path.display()).into()
                );
            }
        }
    }
    let mut rows = Vec::<Value>::new();
    for row in roots.iter().flat_map(|root| root["rows"].as_array().into_iter().flatten()) {
        match rows.iter_mut().find(|known| known["name"] == row["name"]) {
            Some(known) => *known = row.clone(),
            None => rows.push(row.clone()),
        }
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    fs::write(docs.join("benchmarks.md"), page(&roots, &rows))?;
    fs::write(docs.join("images/compared.svg"), chart::compared(&rows))?;
    fs::write(docs.join("images/forms.svg"), chart::forms(&rows))?;
    println!("wrote docs/benchmarks.md and its charts");
    Ok(())
}

fn page(roots: &[Value], rows: &[Value]) -> String {
    let mut page = INTRODUCTION.to_owned();
    page += "\n| | |\n|---|---|\n";
    let first = &roots[0];
    page += &format!("| machine | {} |\n| date | {} |\n", word(first, "machine"), word(first, "date"));
    let revision = Some(word(first, "revision")).filter(|word| !word.is_empty());
    page += &format!("| revision of oxcached | {} |\n", revision.unwrap_or("-"));
    for (name, version) in roots.iter().flat_map(|root| root["versions"].as_object().into_iter().flatten()) {
        let line = format!("| {name} | {} |\n", version.as_str().filter(|text| !text.is_empty()).unwrap_or("-"));
        if !page.contains(&line) {
            page += &line;
        }
    }
    for root in roots {
        page += &format!("| runs | {} |\n", word(root, "setup"));
    }
    let group = |name: &str| rows.iter().filter(|row| word(row, "group") == name).collect::<Vec<_>>();
    loads(&mut page, &group("load"));
    forms(&mut page, &group("forms"));
    plain(&mut page, &group("latency"), LATENCY);
    plain(&mut page, &group("memory"), MEMORY);
    plain(&mut page, &group("misses"), MISSES);
    page += COMMANDS;
    page
}

const INTRODUCTION: &str = "\
# Benchmarks

<!-- Made by `make bench` from the runs that it has just made. Change benches/side_by_side/page.rs, not this page. -->

oxcached, memcached and others under the same loads, on the same core, in turns. A cost is the server's processor time
an operation, in microseconds: what its threads ran, by `/proc/PID/task/*/schedstat`. Each figure is the median of all
rounds; least and most are the extremes. A ratio is oxcached's cost divided by the other's in the same round, so less is
better. 1 million keys of 20 bytes, values of 100 bytes, 50 connections and one worker unless a row says otherwise.

The limit is a toy server that does nothing but one read and one write a wake-up and a lookup in an array
(`benches/side_by_side/limit`). How to measure again: [testing.md](testing.md#benchmark); where the time goes:
[performance.md](performance.md).
";

const COMMANDS: &str = "
## Commands

| program | command |
|---|---|
| servers | `SERVER -t 1 -l 127.0.0.1 -p -1 -U 0 -m 1024 -o hashpower=20 -c 1024`, and what a row says |
| memtier_benchmark | `memtier_benchmark --threads=1 --clients=50 --distinct-client-seed --hide-histogram \
--data-size=100 --key-prefix=oxcached-ab: \
--key-minimum=10000000 --key-maximum=10999999 --protocol=memcache_text`, and what a row says |
| mc-crusher | the row's configuration, and \
`recv=blind_read,conns=50,key_prefix=oxcached-crush,key_count=1000000,live_rand=1` |
| built-in | `scripts/bench --only ROW`: closed loop, one thread; \
each connection sends a batch, awaits its replies, sends the next |

Every key is stored before a load begins. The loaders run on a core of their own.
";

const LATENCY: &str = "
## Latency

Microseconds from the time at which a request was due, at a fixed rate: 50 % and 80 % of what memcached serves in a
closed loop on the same core.
";

const MEMORY: &str = "
## At rest, and memory

`B/conn`: resident bytes of a connection that was served once. `items`: held by `-m 1024` before the first eviction;
there, more is better.
";

const MISSES: &str = "
## Misses

Share of gets that miss, with the same `-m`; the mixes are those of [testing.md](testing.md#hit-ratio).
";

const LOADS: &str = "
## Loads
";

const FORMS: &str = "
## Forms of commands

Pipelines of 50 commands of one form, unless the row says otherwise. `of plain` is the cost as a multiple of that of
plain gets in the same round; the goal is 1.3, except where encryption or the size of a batch is what costs.

![Cost of each form, where that of plain gets is 1](images/forms.svg)
";

/// Median, least and most in three cells.
fn cells(spread: Option<Spread>) -> String {
    let digits = |figure: f64| if figure < 100.0 { 3 } else { 0 };
    spread.map_or("- | - | -".to_owned(), |spread| {
        let Spread { median, least, most } = spread;
        format!("{median:.0$} | {least:.1$} | {most:.2$}", digits(median), digits(least), digits(most))
    })
}

fn middle(spread: Option<Spread>) -> String {
    spread.map_or("-".to_owned(), |spread| format!("{:.3}", spread.median))
}

fn costs(row: &Value, name: &str) -> Option<Spread> {
    Spread::of(figures(row, name, "/cost"))
}

fn goal(row: &Value) -> String {
    let goal = &row["goal"];
    goal["at_most"].as_f64().map_or("-".to_owned(), |most| format!("{most:.2} of {}", word(goal, "of")))
}

fn loads(page: &mut String, rows: &[&Value]) {
    if rows.is_empty() {
        return;
    }
    *page += LOADS;
    *page += "\n| load | sent | by | oxcached | memcached | ratio | least | most \
              | to 1.6.18 | to the limit | to pogocache | goal |\n";
    *page += "|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for row in rows {
        let ratio = |name: &str| Spread::of(ratios(row, name));
        let flags = Some(word(row, "flags")).filter(|flags| !flags.is_empty());
        let by = flags.map_or(word(row, "loader").to_owned(), |flags| format!("{} `{flags}`", word(row, "loader")));
        *page += &format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            word(row, "name"),
            word(row, "about"),
            by,
            middle(costs(row, "oxcached")),
            middle(costs(row, "memcached")),
            cells(ratio("memcached")),
            middle(ratio("old")),
            middle(ratio("limit")),
            middle(ratio("pogocache")),
            goal(row),
        );
    }
}

fn forms(page: &mut String, rows: &[&Value]) {
    if rows.is_empty() {
        return;
    }
    *page += FORMS;
    *page += "\n| form | sent | oxcached | of plain | least | most | memcached | ratio | least | most |\n";
    *page += "|---|---|---|---|---|---|---|---|---|---|\n";
    for row in rows {
        *page += &format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            word(row, "name"),
            word(row, "about"),
            middle(costs(row, "oxcached")),
            cells(Spread::of(plain_ratios(row, "oxcached"))),
            middle(costs(row, "memcached")),
            cells(Spread::of(ratios(row, "memcached"))),
        );
    }
}

fn plain(page: &mut String, rows: &[&Value], head: &str) {
    if rows.is_empty() {
        return;
    }
    *page += head;
    *page +=
        "\n| row | measured | unit | oxcached | least | most | memcached | least | most | ratio | least | most |\n";
    *page += "|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for row in rows.iter().filter(|row| servers(row).len() > 1) {
        *page += &format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            word(row, "name"),
            word(row, "about"),
            word(row, "unit"),
            cells(costs(row, "oxcached")),
            cells(costs(row, "memcached")),
            cells(Spread::of(ratios(row, "memcached"))),
        );
    }
}
