//! Tables made from the rows of a report, whatever its names are.
//!
//! Owns the three forms of rows: `STAT CLASS:FIELD VALUE` is a cell, `STAT NUMBER FIELD=VALUE FIELD=VALUE` a line, and
//! any other a pair. Must not know reports. Used by `special` and `top`.

use crate::failure::Failure;
use crate::printer::{Printer, json_object, json_value};
use crate::report::{self, ReportRow};
use serde_json::{Map, Value, json};

/// A table with its head.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Grid {
    pub(crate) head: Vec<String>,
    pub(crate) lines: Vec<Vec<String>>,
}

/// A report by the form of its rows, each in the order of the report.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ShapedReport {
    pub(crate) pairs: Vec<(String, String)>,
    /// Rows of one line each.
    pub(crate) records: Grid,
    /// A line a class.
    pub(crate) classes: Grid,
    /// `CLASS:below_us:BOUND`: bounds and cumulative counts of a histogram.
    pub(crate) histogram: Grid,
}

/// Heads of first columns, and of a histogram.
const NUMBER: &str = "#";
const CLASS: &str = "class";
const HISTOGRAM: [&str; 3] = ["class", "below_us", "count"];

/// Most columns of a table, so that rows with a field of their own each take no memory beyond their length. The last
/// one has all further fields.
const COLUMNS_MAX: usize = 64;
const REST: &str = "more";

impl Grid {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|&name| name.to_owned()).collect(), lines: Vec::new() }
    }

    /// Puts `value` into the last line, below `name`; adds the column if it is new.
    fn put(&mut self, name: &str, value: &str) {
        let known = self.head.iter().position(|head| head == name);
        let column = known.unwrap_or(self.head.len().min(COLUMNS_MAX - 1));
        if column == self.head.len() {
            let is_last = column == COLUMNS_MAX - 1;
            self.head.push(if is_last { REST } else { name }.to_owned());
        }
        if let Some(line) = self.lines.last_mut() {
            line.resize(line.len().max(column + 1), String::new());
            if column == COLUMNS_MAX - 1 {
                line[column] += &format!("{name}={value} ");
            } else {
                value.clone_into(&mut line[column]);
            }
        }
    }

    pub(crate) fn cell(&self, line: usize, column: usize) -> &str {
        self.lines.get(line).and_then(|line| line.get(column)).map_or("", String::as_str)
    }

    /// Whether all cells of a column are numbers, which then stand at its right end.
    pub(crate) fn is_numeric(&self, column: usize) -> bool {
        let mut cells = (0..self.lines.len()).map(|line| self.cell(line, column)).filter(|cell| !cell.is_empty());
        self.head[column] != "key" && cells.all(|cell| cell.parse::<f64>().is_ok())
    }

    /// Letters of the widest cell of a column.
    pub(crate) fn width(&self, column: usize) -> usize {
        let cells = (0..self.lines.len()).map(|line| self.cell(line, column));
        cells.chain([self.head[column].as_str()]).map(|cell| cell.chars().count()).max().unwrap_or(0)
    }

    /// The columns in padded text: first the head, then each line.
    pub(crate) fn text(&self) -> Vec<String> {
        let columns: Vec<_> =
            (0..self.head.len()).map(|column| (self.width(column), self.is_numeric(column))).collect();
        let line = |cell: &dyn Fn(usize) -> String| {
            let cells = columns.iter().enumerate().map(|(column, &(width, is_numeric))| {
                let cell = cell(column);
                if is_numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let head = line(&|column| self.head[column].clone());
        let lines = (0..self.lines.len()).map(|number| line(&|column| self.cell(number, column).to_owned()));
        std::iter::once(head).chain(lines).collect()
    }

    fn print(&self, out: &mut Printer) -> Result<(), Failure> {
        if self.lines.is_empty() { Ok(()) } else { self.text().iter().try_for_each(|line| out.line(line)) }
    }

    /// A line as an object; keys stay text.
    fn object(&self, line: usize) -> Map<String, Value> {
        let cells = self.head.iter().enumerate().map(|(column, name)| (name, self.cell(line, column)));
        let value = |name: &str, cell: &str| {
            if name == "key" || name.ends_with("_key") { cell.into() } else { json_value(cell) }
        };
        cells
            .filter(|(_, cell)| !cell.is_empty())
            .map(|(name, cell)| (if name == NUMBER { "id".to_owned() } else { name.clone() }, value(name, cell)))
            .collect()
    }
}

/// The fields of a row `FIELD=VALUE FIELD=VALUE`.
fn fields(value: &str) -> Option<Vec<(&str, &str)>> {
    let words = value.split(' ').filter(|word| !word.is_empty());
    let fields: Option<Vec<_>> = words.map(|word| word.split_once('=').filter(|(name, _)| !name.is_empty())).collect();
    fields.filter(|fields| !fields.is_empty())
}

/// A value of its own, or an object of fields.
fn pair_value(value: &str) -> Value {
    fields(value).map_or_else(|| json_value(value), json_object)
}

impl ShapedReport {
    pub(crate) fn of(rows: &[ReportRow]) -> Self {
        let mut shaped = Self {
            records: Grid::new(&[NUMBER]),
            classes: Grid::new(&[CLASS]),
            histogram: Grid::new(&HISTOGRAM),
            ..Self::default()
        };
        for (name, value) in report::pairs(rows) {
            let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
            if let Some(fields) = fields(value).filter(|_| is_number) {
                shaped.records.lines.push(vec![name.to_owned()]);
                fields.iter().for_each(|(name, value)| shaped.records.put(name, value));
            } else if let Some((class, field)) = name.rsplit_once(':') {
                if let Some(class) = class.strip_suffix(":below_us") {
                    shaped.histogram.lines.push([class, field, value].map(str::to_owned).to_vec());
                    continue;
                }
                if shaped.classes.lines.last().is_none_or(|line| line[0] != class) {
                    shaped.classes.lines.push(vec![class.to_owned()]);
                }
                shaped.classes.put(field, value);
            } else {
                shaped.pairs.push((name.to_owned(), value.to_owned()));
            }
        }
        shaped
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty() && self.grids().all(|grid| grid.lines.is_empty())
    }

    pub(crate) fn grids(&self) -> impl Iterator<Item = &Grid> {
        [&self.records, &self.classes, &self.histogram].into_iter()
    }

    /// The pairs, then each table.
    pub(crate) fn print(&self, out: &mut Printer) -> Result<(), Failure> {
        let width = self.pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        self.pairs.iter().try_for_each(|(name, value)| out.line(format!("{name:width$}  {value}").trim_end()))?;
        self.grids().try_for_each(|grid| grid.print(out))
    }

    /// An object: the pairs, an object for each class with its histogram, and the lines as the array `rows`.
    pub(crate) fn json(&self) -> Value {
        let mut object: Map<String, Value> =
            self.pairs.iter().map(|(name, value)| (name.clone(), pair_value(value))).collect();
        for line in 0..self.classes.lines.len() {
            let mut class = self.classes.object(line);
            class.remove(CLASS);
            object.insert(self.classes.cell(line, 0).to_owned(), class.into());
        }
        for line in &self.histogram.lines {
            if let [class, bound, count] = &line[..]
                && let Value::Object(class) = object.entry(class.clone()).or_insert_with(|| Map::new().into())
                && let Value::Array(bounds) = class.entry("below_us").or_insert_with(|| json!([]))
            {
                bounds.push(json!([json_value(bound), json_value(count)]));
            }
        }
        if self.classes.lines.is_empty() {
            object.insert("rows".to_owned(), (0..self.records.lines.len()).map(|n| self.records.object(n)).collect());
        }
        object.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shaped(rows: &[(&str, &str)]) -> ShapedReport {
        let row = |&(name, value): &(&str, &str)| ReportRow::Stat(name.to_owned(), value.to_owned());
        ShapedReport::of(&rows.iter().map(row).collect::<Vec<_>>())
    }

    #[test]
    fn classes_make_a_line_each() {
        let found = shaped(&[
            ("mode", "turn"),
            ("all:count", "3"),
            ("get:count", "2"),
            ("get:p50_us", "1.5"),
            ("command:get:p50_us", "0.5"),
        ]);
        assert_eq!(found.pairs, [("mode".to_owned(), "turn".to_owned())]);
        let text = [
            "class        count  p50_us",
            "all              3",
            "get              2     1.5",
            "command:get            0.5",
        ];
        assert_eq!(found.classes.text(), text);
        let json = json!({
            "mode": "turn", "all": {"count": 3}, "get": {"count": 2, "p50_us": 1.5}, "command:get": {"p50_us": 0.5}
        });
        assert_eq!(found.json(), json);
    }

    #[test]
    fn histograms_are_apart() {
        let found = shaped(&[("get:count", "3"), ("get:below_us:8.192", "2"), ("get:below_us:16.384", "3")]);
        assert_eq!(found.histogram.text()[1], "get       8.192      2");
        assert_eq!(found.json(), json!({ "get": { "count": 3, "below_us": [[8.192, 2], [16.384, 3]] } }));
    }

    #[test]
    fn records_have_the_fields_of_all() {
        let found = shaped(&[("7", "ts=1 us=20 cmd=get key=12"), ("3", "ts=2 us=1 longest_us=1"), ("2", "key=a=b")]);
        assert_eq!(found.records.head, ["#", "ts", "us", "cmd", "key", "longest_us"]);
        assert_eq!(found.records.cell(2, 4), "a=b");
        assert_eq!(found.json()["rows"][0], json!({ "id": 7, "ts": 1, "us": 20, "cmd": "get", "key": "12" }));
        let found = shaped(&[("hotkeys", "on"), ("total", "reads=1.5 writes=2"), ("1", "key=a rate=1.5")]);
        let json = json!({ "hotkeys": "on", "total": { "reads": 1.5, "writes": 2 }, "rows": [{ "id": 1, "key": "a", "rate": 1.5 }] });
        assert_eq!(found.json(), json);
        assert_eq!(shaped(&[]).json(), json!({ "rows": [] }));
        assert!(shaped(&[]).is_empty() && !found.is_empty());
    }

    #[test]
    fn odd_rows_take_bounded_columns_and_panic_nowhere() {
        let rows: Vec<_> = (0..500).map(|n| (n.to_string(), format!("field{n}=1"))).collect();
        let rows: Vec<_> = rows.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let found = shaped(&rows);
        assert_eq!(found.records.head.len(), COLUMNS_MAX);
        assert_eq!(found.records.cell(499, COLUMNS_MAX - 1), "field499=1 ");
        let found =
            shaped(&[("get", "x"), ("get:below_us:1", "2"), (":", ""), ("", ""), ("a:class", "b"), (":below_us:", "")]);
        assert_eq!(found.json()["get"], "x");
        assert!(found.grids().all(|grid| !grid.text().is_empty()));
    }
}
