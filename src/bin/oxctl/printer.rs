//! Output: text, tables and JSON on standard output.
//!
//! Owns how values look. Must not know commands. Used by all of them.

use crate::failure::Failure;
use serde_json::{Map, Number, Value, json};
use std::fmt::Write as _;
use std::io::{self, Write};

/// Buffered standard output; its errors are failures of the command.
pub(crate) struct Printer {
    out: io::BufWriter<io::Stdout>,
}

impl Printer {
    pub(crate) fn stdout() -> Self {
        Self { out: io::BufWriter::new(io::stdout()) }
    }

    /// # Errors
    /// [`Failure::of_output`], as for all methods here.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(|error| Failure::of_output(&error))
    }

    /// `text` and a line end.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// A value on one line.
    pub(crate) fn json(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(&value.to_string())
    }

    /// A value on as many lines as it has parts.
    pub(crate) fn pretty_json(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(&format!("{value:#}"))
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|error| Failure::of_output(&error))
    }

    /// The stream itself, for values that are copied.
    pub(crate) fn stream(&mut self) -> &mut dyn Write {
        &mut self.out
    }
}

/// Text of a server for people: bytes that are no UTF-8 or could steer a terminal are shown as `\xNN`.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() {
                letter.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| _ = write!(text, "\\x{byte:02x}"));
            } else {
                text.push(letter);
            }
        }
        chunk.invalid().iter().for_each(|byte| _ = write!(text, "\\x{byte:02x}"));
    }
    text
}

/// A statistic as JSON: a number if it is written as one and keeps its digits, else a string.
pub(crate) fn json_value(text: &str) -> Value {
    let plain = text.strip_prefix('-').unwrap_or(text);
    let integer = plain == "0" || (!plain.starts_with('0') && plain.bytes().all(|byte| byte.is_ascii_digit()));
    if integer && text != "-0" {
        if let Ok(number) = text.parse::<u64>() {
            return number.into();
        }
        if let Ok(number) = text.parse::<i64>() {
            return number.into();
        }
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain.split_once('.').is_some_and(|(whole, part)| digits(whole) && digits(part))
        && let Ok(number) = text.parse::<f64>()
        && number.to_string() == text.trim_end_matches('0').trim_end_matches('.')
        && let Some(number) = Number::from_f64(number)
    {
        return number.into();
    }
    text.into()
}

/// Pairs of names and texts as a JSON object; see [`json_value`].
pub(crate) fn json_object<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    Value::Object(pairs.into_iter().map(|(name, text)| (name.to_owned(), json_value(text))).collect::<Map<_, _>>())
}

/// The pairs `name=value` of a line, as an object; a key stays text. A line of another form is an object with the name
/// `line`.
pub(crate) fn json_event(line: &str) -> Value {
    let words = line.split(' ').filter(|word| !word.is_empty());
    let pairs: Option<Vec<_>> = words.map(|word| word.split_once('=')).collect();
    match pairs {
        Some(pairs) if !pairs.is_empty() => {
            let value = |name, text: &str| if name == "key" { text.into() } else { json_value(text) };
            Value::Object(pairs.into_iter().map(|(name, text)| (name.to_owned(), value(name, text))).collect())
        }
        _ => json!({ "line": line }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_server_cannot_steer_the_terminal() {
        assert_eq!(shown(b"a\x1b[2J\r\x07\xff\xc2\x9b\x7f"), "a\\x1b[2J\\x0d\\x07\\xff\\xc2\\x9b\\x7f");
        assert_eq!(shown("käse".as_bytes()), "käse");
    }

    #[test]
    fn numbers_become_numbers_and_lose_no_digit() {
        for number in ["0", "17", "-3", "18446744073709551615", "-9223372036854775808", "0.5"] {
            assert_eq!(json_value(number).to_string(), number);
        }
        assert_eq!(json_value("1.250000").to_string(), "1.25");
        assert_eq!(json_value("1796063645.423771").to_string(), "1796063645.423771");
        for text in [
            "",
            "-",
            "007",
            "1.6.45",
            "18446744073709551616",
            "1e5",
            "nan",
            "0x1",
            "-0",
            "+1",
            ".5",
            "5.",
            "01.5",
            "0.12345678901234567890",
        ] {
            assert_eq!(json_value(text), Value::String(text.to_owned()), "{text}");
        }
    }
    #[test]
    fn events_are_objects() {
        let found = json_event("ts=1.5 gid=7 type=item_get key=12 status=not_found clsid=0 cfd=3 size=0");
        assert_eq!(found["key"], "12");
        assert_eq!(found["gid"], 7);
        assert_eq!(json_event("[skipped: 3]"), json!({ "line": "[skipped: 3]" }));
        assert_eq!(json_event(""), json!({ "line": "" }));
    }
}
