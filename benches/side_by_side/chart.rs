//! Owns the charts: bars of ratios beside a line at 1, as SVG that fits a light and a dark page. Called by `page`.

use serde_json::Value;

use crate::forms::GOAL;
use crate::report::{Spread, plain_ratios, ratios, word};

const LABELS: f64 = 250.0;
const BAR: f64 = 400.0;
const WIDTH: f64 = 740.0;
const ROW: f64 = 22.0;
const TITLE: f64 = 26.0;
const GAP: f64 = 12.0;
const TOP: f64 = 30.0;

const STYLE: &str = "
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.note { fill: #59636e }
.bar { fill: #b7410e }
.whole { fill: #d1d9e0 }
.line { stroke: #59636e; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .note { fill: #9198a1 }
  .bar { fill: #e2703a }
  .whole { fill: #3d444d }
  .line { stroke: #9198a1 }
}";

/// A heading, and bars with their labels.
struct Panel {
    title: &'static str,
    bars: Vec<(String, f64)>,
}

/// Rows of the chart of README.md, by their panel: name and label.
const LOADS: &[(&str, &str)] = &[
    ("get1", "get, one a packet"),
    ("set1", "set, one a packet"),
    ("pipe16", "16 gets in a pipeline"),
    ("pipe64", "64 gets in a pipeline"),
    ("crush50", "50 gets in a pipeline, mc-crusher"),
    ("mget50", "get of 50 keys"),
    ("zipf16", "16 in a pipeline, Zipf 0.99"),
    ("tlsget1", "get over TLS"),
    ("big10k", "get of 10 KB"),
    ("churn", "connect, get, close"),
];
const MISSES: &[(&str, &str)] =
    &[("zipf09-1", "Zipf 0.9, 1 % in memory"), ("zipf09-10", "Zipf 0.9, 10 %"), ("sizes", "sizes that change")];
const ITEMS: &[(&str, &str)] = &[
    ("items10", "values of 10 bytes"),
    ("items100", "values of 100 bytes"),
    ("items1000", "values of 1000 bytes"),
    ("idle10k", "idle connection"),
];

/// oxcached compared with memcached.
pub fn compared(rows: &[Value]) -> String {
    let panel = |title, wanted: &[(&str, &str)]| {
        let bars = wanted.iter().filter_map(|(name, label)| {
            let row = rows.iter().find(|row| word(row, "name") == *name)?;
            let ratio = Spread::of(ratios(row, "memcached"))?.median;
            // More items are less memory for each.
            Some(((*label).to_owned(), if word(row, "unit") == "items" { 1.0 / ratio } else { ratio }))
        });
        Panel { title, bars: bars.collect() }
    };
    let panels = [
        panel("processor time per operation", LOADS),
        panel("misses with the same memory", MISSES),
        panel("memory per item and connection", ITEMS),
    ];
    draw("oxcached compared with memcached", "memcached 1.6.45 = 1; less is better", 1.0, 1.0, &panels)
}

/// The cost of each form, compared with that of plain gets.
pub fn forms(rows: &[Value]) -> String {
    let bars = rows
        .iter()
        .filter(|row| word(row, "group") == "forms")
        .filter_map(|row| Some((word(row, "name").to_owned(), Spread::of(plain_ratios(row, "oxcached"))?.median)));
    let panel = Panel { title: "processor time of a command in a pipeline", bars: bars.collect() };
    draw("cost of each form of a command", "plain gets = 1; the line is the goal, 1.3", GOAL, 2.0, &[panel])
}

/// A chart whose bars reach to `most`, with a line at `mark`.
fn draw(title: &str, note: &str, mark: f64, most: f64, panels: &[Panel]) -> String {
    let mut parts = Vec::new();
    let mut y = TOP;
    let scale = BAR / most;
    for panel in panels.iter().filter(|panel| !panel.bars.is_empty()) {
        parts.push(text(0.0, y + 16.0, panel.title, "title", "start"));
        y += TITLE;
        for (label, figure) in &panel.bars {
            let bar = |width: f64, kind: &str| {
                let (y, height) = (y + 3.0, ROW - 6.0);
                format!(r#"<rect x="{LABELS}" y="{y}" width="{width:.0}" height="{height}" class="{kind}"/>"#)
            };
            parts.push(text(LABELS - 8.0, y + 15.0, label, "", "end"));
            parts.push(bar(BAR, "whole"));
            parts.push(bar((figure * scale).min(BAR), "bar"));
            parts.push(text(LABELS + BAR + 8.0, y + 15.0, &format!("{figure:.2}"), "", "start"));
            y += ROW;
        }
        y += GAP;
    }
    let x = LABELS + mark * scale;
    let line = format!(r#"<line x1="{x}" x2="{x}" y1="{}" y2="{y}" class="line"/>"#, TOP - 6.0);
    let size = format!(r#"viewBox="0 0 {WIDTH} {0}" width="{WIDTH}""#, y + 8.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" {size} role=\"img\">\n<title>{title}</title>\n\
         <style>{STYLE}\n</style>\n{}\n{}\n{line}\n</svg>\n",
        text(LABELS + BAR, 16.0, note, "note", "end"),
        parts.join("\n"),
    )
}

fn text(x: f64, y: f64, words: &str, kind: &str, anchor: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    format!(r#"<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{words}</text>"#)
}
