//! Completions of oxcached and oxctl for shells.
//!
//! Owns what a value can be; the notation of each shell is in its own file. Must not know help texts' layout.

pub(crate) mod bash;
pub(crate) mod control;
pub(crate) mod fish;
pub(crate) mod zsh;

use oxcached::settings::OptionRow;

/// What a value is, as far as a shell can help.
enum Value {
    /// There is none.
    Nothing,
    /// A path.
    File,
    /// A user of the system.
    User,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Names of `-o`.
    Names,
    /// Something else.
    Other,
}

fn value(row: &OptionRow) -> Value {
    match row.placeholder {
        None => Value::Nothing,
        _ if !row.choices.is_empty() => Value::Word(row.choices),
        Some("<file>") => Value::File,
        Some("<user>") => Value::User,
        Some("<list>") => Value::Names,
        Some(_) => Value::Other,
    }
}

/// The spellings of an option: `-m`, `--memory-limit`.
fn spellings(row: &OptionRow) -> Vec<String> {
    let letter = row.letter.map(|letter| format!("-{letter}"));
    letter.into_iter().chain(row.name.map(|name| format!("--{name}"))).collect()
}

/// A description of one line: the text up to its first pause.
fn brief(row: &OptionRow) -> String {
    let end = row.text.find(['.', ';', ':']).filter(|end| *end > 8).unwrap_or(row.text.len());
    row.text[..end].to_owned()
}
