//! The dashboard and the alerts of `contrib/`: every metric, label and label value that they use is one that `/metrics`
//! has.

use super::notation::{full, promtool};
use super::parser::Parsed;
use super::scrape;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Labels that Prometheus adds to every sample.
const OF_TARGETS: [&str; 2] = ["job", "instance"];

fn path(name: &str) -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

fn dashboard() -> serde_json::Value {
    serde_json::from_str(&read("contrib/grafana/oxcached.json")).unwrap()
}

/// Expressions of the panels, each with its legend.
fn queries() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let targets = dashboard["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array());
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    targets.flatten().map(|target| (text(&target["expr"]), text(&target["legendFormat"]))).collect()
}

/// Expressions of the alerts, which stand in one line each.
fn alerts() -> Vec<String> {
    let text = read("contrib/prometheus/rules.yml");
    let exprs: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned).collect();
    assert_eq!(exprs.len(), text.matches("- alert: ").count());
    exprs
}

/// A selector: the name of a metric, and its matchers (label, operator, value).
type Selector = (String, Vec<(String, String, String)>);

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Selectors of an expression whose metric is of `/metrics`.
fn selectors(expr: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    for prefix in ["memcached_", "oxcached_"] {
        for (at, _) in expr.match_indices(prefix).filter(|(at, _)| !expr[..*at].ends_with(is_word)) {
            let rest = &expr[at..];
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let inner = rest.strip_prefix('{').map_or("", |rest| rest.split_once('}').unwrap().0);
            let matchers = inner.split(',').filter(|matcher| !matcher.is_empty()).map(|matcher| {
                let (label, rest) = matcher.split_at(matcher.find(|c| !is_word(c)).unwrap());
                let (operator, value) = rest.split_once('"').unwrap();
                (label.trim().into(), operator.into(), value.strip_suffix('"').unwrap().into())
            });
            found.push((name.to_owned(), matchers.collect()));
        }
    }
    found
}

/// Labels that an expression groups by.
fn grouped(expr: &str) -> BTreeSet<&str> {
    let lists = ["by (", "without (", "on (", "ignoring ("].into_iter().flat_map(|word| expr.split(word).skip(1));
    lists.flat_map(|rest| rest.split(')').next().unwrap().split(',')).map(str::trim).collect()
}

/// Labels of the series that a selector's name means.
fn labels<'a>(scrape: &'a Parsed, name: &str) -> BTreeSet<&'a str> {
    let series = scrape.values().flat_map(|family| family.samples.keys()).filter(|series| series.name == name);
    let labels = series.flat_map(|series| series.labels.keys()).map(String::as_str);
    labels.chain(OF_TARGETS).collect()
}

/// Asserts that `scrape` has what an expression uses.
#[track_caller]
fn check(scrape: &Parsed, expr: &str, legend: &str) {
    let selectors = selectors(expr);
    assert!(!selectors.is_empty() || expr.contains("up{"), "{expr} selects nothing");
    let mut all = BTreeSet::new();
    for (name, matchers) in &selectors {
        let series = || scrape.values().flat_map(|family| family.samples.keys()).filter(|series| series.name == *name);
        assert!(series().next().is_some(), "{expr}: there is no {name}");
        let own = labels(scrape, name);
        for (label, operator, value) in matchers {
            assert!(own.contains(label.as_str()), "{expr}: {name} has no label {label}");
            let exact = operator == "=" && !OF_TARGETS.contains(&label.as_str());
            assert!(
                !exact || series().any(|series| series.labels[label] == *value),
                "{expr}: no {name} has {label} {value}"
            );
        }
        all.extend(own);
    }
    for label in grouped(expr) {
        assert!(all.contains(label), "{expr}: no metric has the label {label}");
    }
    for label in legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()) {
        // An aggregate keeps the labels that it groups by.
        assert!(grouped(expr).contains(label), "{legend}: {expr} drops {label}");
    }
}

#[test]
fn the_dashboard_uses_metrics_that_exist() {
    let scrape = scrape(&full().0);
    let queries = queries();
    assert!(queries.len() > 30, "{}", queries.len());
    for (expr, legend) in &queries {
        check(&scrape, expr, legend);
    }
    let dashboard = dashboard();
    for variable in &dashboard["templating"]["list"].as_array().unwrap()[1..] {
        let query = variable["definition"].as_str().unwrap();
        let label = query.rsplit_once(", ").unwrap().1.trim_end_matches(')');
        assert!(OF_TARGETS.contains(&label), "{query}");
        check(&scrape, query, "");
    }
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    assert_eq!(dashboard["uid"], "oxcached-overview");
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    let mut cells = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()) && titles.insert(panel["title"].as_str().unwrap()));
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24);
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(cells.insert((x, y)), "{} is over another panel", panel["title"]);
            }
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}");
            assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{}", panel["title"]);
        }
    }
    let wanted = [
        "Hit rate",
        "Connection use, top 20",
        "Commands",
        "Evictions",
        "Stored",
        "CPU",
        "Memory",
        "Items",
        "Servers",
        "Current connections",
        "New connections",
        "Bytes received",
        "Bytes sent",
        "Turns",
        "Hot keys",
        "Hit ratio by class",
        "Memory by class",
        "Connections by state",
    ];
    let missing: Vec<_> = wanted.into_iter().filter(|title| !titles.contains(title)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn the_alerts_use_metrics_that_exist() {
    let scrape = scrape(&full().0);
    let alerts = alerts();
    assert!(alerts.len() > 12);
    for expr in &alerts {
        check(&scrape, expr, "");
        // The name that scrape.yml gives the job.
        assert!(expr.contains("{job=\"oxcached\""), "{expr}");
    }
    let names = alerts.iter().flat_map(|expr| selectors(expr)).map(|(name, _)| name);
    assert!(!names.into_iter().any(|name| name == "memcached_up"), "a server that is down has none");
    assert!(read("contrib/prometheus/scrape.yml").contains("job_name: oxcached\n"));
}

#[test]
fn promtool_accepts_the_files() {
    let rules = path("contrib/prometheus/rules.yml");
    let Some(said) = promtool(&["check", "rules", rules.to_str().unwrap()], "") else { return };
    assert!(said.contains(&format!("SUCCESS: {} rules found", alerts().len())), "{said}");
    let config = path("contrib/prometheus/scrape.yml");
    let said = promtool(&["check", "config", "--syntax-only", config.to_str().unwrap()], "").unwrap();
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn alerts_fire_on_what_they_are_for() {
    let tests = path("tests/it/metrics/rules_test.yml");
    let Some(said) = promtool(&["test", "rules", tests.to_str().unwrap()], "") else { return };
    assert!(said.trim_end().ends_with("SUCCESS"), "{said}");
}

#[test]
fn a_wrong_name_is_noticed() {
    let scrape = scrape(&full().0);
    let good = "sum by (slab) (rate(memcached_slab_commands_total{job=\"a\",command=\"get\"}[5m])) > 0";
    check(&scrape, good, "{{slab}}");
    for (from, to) in
        [("slab_commands", "slab_comands"), ("command=", "cmd="), ("\"get\"", "\"got\""), ("(slab)", "(class)")]
    {
        let bad = good.replace(from, to);
        assert!(std::panic::catch_unwind(|| check(&scrape, &bad, "")).is_err(), "{bad}");
    }
    assert!(std::panic::catch_unwind(|| check(&scrape, good, "{{command}}")).is_err());
}
