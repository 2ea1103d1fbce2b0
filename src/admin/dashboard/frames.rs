//! The frames of the dashboard: JSON objects with a `type`.
//!
//! Owns their shape, which the page (`src/admin/assets/app.js`) reads. Knows neither connections nor how frames are
//! sent. A frame has at most [`DASHBOARD_FRAME`] bytes: a longer history is thinned.

use super::history::HistoryRow;
use super::sampler::{COLUMNS, ClassSample, LiveSample, Sampler, columns, connection_states};
use super::turns::bounds;
use super::watch::LineBatch;
use crate::events::{CommandText, Numbered, SlowRecord, WORDS};
use crate::hotkeys::{HotKey, HotKeyWindow, Weight};
use crate::limits::{DASHBOARD_FRAME, DASHBOARD_SAMPLES};
use crate::metric::MetricValue;
use crate::printable::PercentEncoded;
use crate::proto::Shared;
use crate::report::Report;
use crate::settings::{NO_THRESHOLD, VERSION};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The first frame of a viewer: facts of the server, the columns of samples, the history. Locks the sampler only to
/// copy from it.
pub(super) fn hello(shared: &Shared, sampler: &Mutex<Sampler>) -> String {
    let mut step = 1;
    loop {
        let frame = hello_of(shared, sampler, step);
        // 1,800 rows become one long before the step overflows.
        if frame.len() <= DASHBOARD_FRAME || step > DASHBOARD_SAMPLES {
            return frame;
        }
        step *= 2;
    }
}

fn hello_of(shared: &Shared, sampler: &Mutex<Sampler>, step: usize) -> String {
    let held = sampler.lock();
    let (newest, rows) = (held.newest(), held.history().thinned(step));
    drop(held);
    let times: Vec<u64> = rows.iter().map(|row| row.time).collect();
    let column = |at: usize| -> Value { rows.iter().map(|row| number(row.values[at])).collect() };
    let columns: Map<String, Value> = columns().enumerate().map(|(at, name)| (name, column(at))).collect();
    let classes: Vec<&str> = WORDS.iter().map(|(word, _)| *word).filter(|word| !word.starts_with("proxy")).collect();
    let frame = json!({
        "type": "hello",
        "server": server(shared),
        "settings": settings(shared),
        "watch": { "enabled": shared.settings.watch_enabled, "classes": classes },
        "latency": { "bounds": bounds().collect::<Vec<_>>() },
        "history": { "step": step, "times": times, "columns": columns },
        "sample": newest.map(|newest| body(shared, &newest)),
    });
    frame.to_string()
}

/// The frame of each second.
pub(super) fn sample(shared: &Shared, newest: &LiveSample) -> String {
    let mut frame = body(shared, newest);
    frame.insert("type".into(), "sample".into());
    Value::Object(frame).to_string()
}

/// Facts that stay as they are.
fn server(shared: &Shared) -> Value {
    let settings = &shared.settings;
    json!({
        "name": "oxcached",
        "version": env!("CARGO_PKG_VERSION"),
        "memcached_version": VERSION,
        "pid": std::process::id(),
        "threads": settings.num_threads,
        "tls": shared.tls.is_some(),
        "auth": shared.auth.is_some(),
        "evictions": settings.evict_to_free,
    })
}

/// `stats settings`, as an object.
fn settings(shared: &Shared) -> Map<String, Value> {
    let mut rows = Map::new();
    shared.collector().visit(Report::Settings, &mut |metric| {
        let value = match metric.value {
            MetricValue::Text(text) => text.to_owned(),
            other => other.to_string(),
        };
        rows.insert(metric.name.to_owned(), value.into());
    });
    rows
}

fn body(shared: &Shared, sample: &LiveSample) -> Map<String, Value> {
    let HistoryRow { time, values } = sample.row;
    let row: Map<String, Value> =
        columns().zip(values as [f32; COLUMNS]).map(|(name, value)| (name, number(value))).collect();
    let states: Map<String, Value> =
        connection_states(&shared.conns).into_iter().map(|(name, count)| (name.into(), count.into())).collect();
    let problems: Vec<Value> = sample
        .problems
        .iter()
        .map(|problem| json!({ "severity": problem.severity.word(), "text": problem.text }))
        .collect();
    let mut body = Map::new();
    body.insert("time".into(), time.into());
    body.insert("uptime".into(), sample.uptime.into());
    body.insert("latency".into(), shared.runtime.latency_mode().text().into());
    body.insert("values".into(), row.into());
    body.insert("classes".into(), sample.classes.iter().map(class).collect());
    body.insert("states".into(), states.into());
    body.insert("problems".into(), problems.into());
    body
}

fn class(class: &ClassSample) -> Value {
    json!({
        "id": class.id,
        "chunk_size": class.chunk_size,
        "pages": class.pages,
        "items": class.items,
        "item_bytes": class.item_bytes,
        "max_size_bytes": class.max_size_bytes,
        "fitted_bytes": class.fitted_bytes,
        "age": class.age,
        "hits": number(class.hits),
        "sets": number(class.sets),
        "evicted": number(class.evicted),
        "returned": number(class.returned),
    })
}

/// A number with no more digits than it has; `null` for one that does not exist.
fn number(value: f32) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e18 {
        return (value as i64).into();
    }
    // By way of its shortest notation: 0.1 as f64 would have 17 digits.
    value.to_string().parse::<f64>().ok().filter(|value| value.is_finite()).map_or(Value::Null, Value::from)
}

/// Hot keys in each list.
const HOT_KEYS: usize = 20;

/// The hot keys of the last window, by each weight. With `-X` no key is told.
pub(super) fn hot_keys(shared: &Shared) -> String {
    let hotkeys = &shared.cache.hotkeys;
    let window = if shared.settings.dump_enabled { hotkeys.window(shared.clock.now()) } else { None };
    let list = |weight: Weight| -> Value {
        let window = window.iter();
        let top = window.flat_map(|window| window.top(weight).take(HOT_KEYS).map(move |hot| (window, hot)));
        let row = |(window, hot): (&Arc<HotKeyWindow>, &HotKey)| {
            json!({
                "key": PercentEncoded(&hot.key).to_string(),
                "rate": number(window.rate(weight.of(&hot.tally)) as f32),
                "share": number(window.share(weight, hot) as f32),
            })
        };
        top.map(row).collect()
    };
    let by: Map<String, Value> = Weight::ALL.iter().map(|weight| (weight.word().into(), list(*weight))).collect();
    json!({
        "type": "hotkeys",
        "on": hotkeys.is_on(),
        "allowed": shared.settings.dump_enabled,
        "gap": hotkeys.gap(),
        "seconds": hotkeys.seconds(),
        "by": by,
    })
    .to_string()
}

/// Slow turns in the list.
const SLOW_TURNS: usize = 50;

/// The latest slow turns, newest first. With `-X` none is told, since they name keys.
pub(super) fn slow_turns(shared: &Shared) -> String {
    let is_allowed = shared.settings.dump_enabled;
    let latest = if is_allowed { shared.events.slow.latest(SLOW_TURNS) } else { None };
    let row = |numbered: &Numbered<SlowRecord>| {
        let slow = &numbered.record;
        let text =
            |of: fn(&CommandText) -> &[u8]| slow.first.as_ref().map(|first| PercentEncoded(of(first)).to_string());
        json!({
            "id": numbered.id,
            "time": numbered.seconds * 1000,
            "micros": slow.nanos / 1000,
            "commands": slow.commands,
            "command": text(CommandText::word),
            "key": text(CommandText::key),
            "bytes_in": slow.read,
            "bytes_out": slow.written,
            "peer": slow.peer.map(|peer| peer.to_string()),
        })
    };
    let rows: Vec<Value> = latest.iter().flatten().rev().map(row).collect();
    let threshold = shared.runtime.slow_threshold();
    json!({
        "type": "slow",
        "allowed": is_allowed,
        "threshold": (threshold != NO_THRESHOLD).then_some(threshold),
        "rows": rows,
    })
    .to_string()
}

/// Lines for a viewer that watches events.
pub(super) fn watch(batch: &LineBatch) -> String {
    json!({ "type": "watch", "lines": batch.lines, "skipped": batch.skipped }).to_string()
}

/// What became of a request to watch: the classes, or why there is no watching.
pub(super) fn watching(classes: &[String], refused: Option<&str>) -> String {
    json!({ "type": "watching", "classes": classes, "refused": refused }).to_string()
}

/// The answer to a request that means nothing.
pub(super) fn refused(text: &str) -> String {
    json!({ "type": "refused", "text": text }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::dashboard::figures::LiveFigures;
    use crate::clock::Clock;
    use crate::hash::hash;
    use crate::hotkeys::{Access, AccessKind};
    use crate::settings::{Action, parse};
    use crate::stats::Counter;

    fn shared(args: &[&str]) -> Shared {
        let words = ["oxcached", "-k"].iter().chain(args).map(|word| (*word).into());
        let Action::Run(settings) = parse(words).unwrap() else { panic!("settings") };
        Shared::new(*settings, Clock::manual(1_000_000_000), Box::new(|_| ())).unwrap()
    }

    fn object(frame: &str) -> Value {
        serde_json::from_str(frame).unwrap()
    }

    fn tick(shared: &Shared, sampler: &Mutex<Sampler>) {
        sampler.lock().take(LiveFigures::of(&shared.collector()), 0);
    }

    #[test]
    fn a_viewer_is_greeted_with_the_past_and_gets_what_follows() {
        let (shared, sampler) = (shared(&[]), Mutex::new(Sampler::new()));
        assert!(object(&hello(&shared, &sampler))["sample"].is_null());
        tick(&shared, &sampler);
        shared.stats.workers[0].add(Counter::BytesRead, 1 << 40);
        tick(&shared, &sampler);
        let newest = sampler.lock().newest().unwrap();
        let (hello, sample) = (object(&hello(&shared, &sampler)), object(&sample(&shared, &newest)));
        assert_eq!((&hello["type"], &sample["type"]), (&json!("hello"), &json!("sample")));
        assert_eq!(hello["settings"]["maxconns"], "1024");
        assert_eq!(hello["history"]["times"], json!([sample["time"]]));
        for name in columns() {
            let value = &sample["values"][&name];
            assert!(value.is_number() || name.starts_with("latency_p"), "{name}");
            assert_eq!(hello["history"]["columns"][&name], json!([value]), "{name}");
        }
        assert_eq!(hello["sample"]["values"], sample["values"]);
        assert!(sample["values"]["bytes_read"].as_f64().unwrap() > 1e9);
    }

    #[test]
    fn hot_keys_are_listed_by_each_weight() {
        let shared = shared(&[]);
        assert_eq!(object(&hot_keys(&shared))["on"], false);
        shared.begin_hotkeys().unwrap();
        shared.clock.advance(1);
        for n in 0..100_000_u32 {
            if shared.cache.hotkeys.is_due(Some(0)) {
                let key: &[u8] = if n % 4 == 0 { b"\xff cold" } else { b"hot:1" };
                let access = Access { kind: AccessKind::Read, missed: false, bytes: 100 };
                shared.cache.hotkeys.record(Some(0), shared.clock.now(), hash(key), key, access);
            }
        }
        shared.clock.advance(shared.cache.hotkeys.seconds().into());
        let frame = object(&hot_keys(&shared));
        let reads = frame["by"]["reads"].as_array().unwrap();
        assert_eq!((&frame["on"], reads.len()), (&true.into(), 2));
        assert_eq!((&reads[0]["key"], &reads[1]["key"]), (&"hot%3A1".into(), &"%FF%20cold".into()));
        let rate = 75_000.0 / f64::from(shared.cache.hotkeys.seconds());
        assert!((rate * 0.8..rate * 1.2).contains(&reads[0]["rate"].as_f64().unwrap()), "{frame}");
        assert_eq!((&frame["by"]["misses"], &frame["by"]["writes"]), (&json!([]), &json!([])));
    }

    #[test]
    fn slow_turns_are_listed_with_the_newest_first() {
        let shared = shared(&[]);
        let record = |nanos| SlowRecord {
            nanos,
            class: "get",
            commands: 3,
            read: 10,
            written: 20,
            first: Some(CommandText::new(b"get", b"a b")),
            longest: None,
            peer: Some("127.0.0.1:9".parse().unwrap()),
            udp: false,
            fd: 7,
        };
        for n in 1..=60 {
            shared.events.slow.put(Some(0), n, record(n as u64 * 1_000_000));
        }
        let frame = object(&slow_turns(&shared));
        let rows = frame["rows"].as_array().unwrap();
        assert_eq!((rows.len(), &frame["threshold"]), (SLOW_TURNS, &10_000.into()));
        let newest = json!({
            "id": 60, "time": 60_000, "micros": 60_000, "commands": 3, "command": "get", "key": "a%20b",
            "bytes_in": 10, "bytes_out": 20, "peer": "127.0.0.1:9",
        });
        assert_eq!(rows[0], newest);
    }

    #[test]
    fn without_dumps_no_key_is_told() {
        let shared = shared(&["-X"]);
        shared.begin_hotkeys().unwrap();
        let (hot, slow) = (object(&hot_keys(&shared)), object(&slow_turns(&shared)));
        assert_eq!((&hot["allowed"], &slow["allowed"]), (&false.into(), &false.into()));
        assert_eq!((&hot["by"]["reads"], &slow["rows"]), (&json!([]), &json!([])));
    }

    #[test]
    fn a_full_history_fits_into_a_frame() {
        let (shared, sampler) = (shared(&[]), Mutex::new(Sampler::new()));
        for _ in 0..=DASHBOARD_SAMPLES {
            for n in 0..100 {
                shared.stats.workers[0].add(Counter::BytesRead, n * n);
            }
            tick(&shared, &sampler);
        }
        let frame = hello(&shared, &sampler);
        assert!(frame.len() <= DASHBOARD_FRAME, "{}", frame.len());
        let history = &object(&frame)["history"];
        let (step, count) = (history["step"].as_u64().unwrap(), history["times"].as_array().unwrap().len() as u64);
        println!("{} bytes, every {step}th sample", frame.len());
        assert!(step <= 4 && count >= 1800 / step, "{count} of {step}");
    }

    #[test]
    fn numbers_have_no_more_digits_than_they_need() {
        let shown = [0.0, 7.0, 0.1, 1234.56, 1e12, f32::NAN, f32::INFINITY].map(|value| number(value).to_string());
        assert_eq!(shown, ["0", "7", "0.1", "1234.56", "999999995904", "null", "null"]);
    }
}
