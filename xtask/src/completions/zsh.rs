//! zsh: a function for `compdef`, by `_arguments` and `_values`.

use super::{Value, brief, spellings, value};
use crate::tables;
use oxcached::settings::{OptionRow, option_rows};

/// The script.
pub(crate) fn script() -> String {
    let options: Vec<String> = option_rows().iter().map(argument).collect();
    let names: Vec<String> = tables::names().iter().map(name).collect();
    TEMPLATE.replace("@OPTIONS@", &options.join(" \\\n        ")).replace("@NAMES@", &names.join(" \\\n        "))
}

/// Text within brackets and single quotes.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]").replace(':', "\\:").replace('\'', "'\\''")
}

/// What completes a value: its name, and the action.
fn action(row: &OptionRow) -> Option<String> {
    let what = row.placeholder.unwrap_or_default().trim_matches(['<', '>']);
    match value(row) {
        Value::Nothing => None,
        Value::File => Some(format!(":{what}:_files")),
        Value::User => Some(format!(":{what}:_users")),
        Value::Word(words) => Some(format!(":{what}:({})", words.join(" "))),
        Value::Names => Some(format!(":{what}:_oxcached_names")),
        Value::Other => Some(format!(":{what}: ")),
    }
}

/// A specification of `_arguments`.
fn argument(row: &OptionRow) -> String {
    let all = spellings(row);
    let (text, action) = (quoted(&brief(row)), action(row));
    let marked = |word: &String| match (&action, word.starts_with("--")) {
        (None, _) => word.clone(),
        (Some(_), true) => format!("{word}="),
        (Some(_), false) => format!("{word}+"),
    };
    // Other mentions stay possible for options that add up.
    let adds_up = row.repeats || matches!(value(row), Value::Names);
    let before = if adds_up { "\\*".to_owned() } else { format!("'({})'", all.join(" ")) };
    let words = all.iter().map(marked).collect::<Vec<_>>().join(",");
    let words = if all.len() > 1 { format!("{{{words}}}") } else { words };
    format!("{before}{words}'[{text}]{}'", action.unwrap_or_default())
}

/// A specification of `_values`.
fn name(row: &OptionRow) -> String {
    let text = if row.text.is_empty() { String::new() } else { format!("[{}]", quoted(&brief(row))) };
    let colons = if row.is_optional { ":" } else { "" };
    let action = action(row).map(|action| format!("{colons}{action}")).unwrap_or_default();
    let before = if row.repeats { "*" } else { "" };
    format!("'{before}{}{text}{action}'", row.name.unwrap_or_default())
}

const TEMPLATE: &str = r#"#compdef oxcached
# zsh completion for oxcached. Made by `make docs` from the option table. Changes here are lost.

_oxcached_names() {
    _values -s , name \
        @NAMES@
}

_oxcached() {
    _arguments -s -S : \
        @OPTIONS@ \
        '(- *)--hash-password[read a password and print its line for a file of users]:user: ::iterations: '
}

if [[ $funcstack[1] == _oxcached ]]; then
    _oxcached "$@"
else
    compdef _oxcached oxcached
fi
"#;
