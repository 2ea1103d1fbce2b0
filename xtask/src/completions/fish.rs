//! fish: a line of `complete` for each option.

use super::{Value, brief, value};
use crate::tables;
use oxcached::settings::{OptionRow, hash_password_row, option_rows};

/// The script.
pub(crate) fn script() -> String {
    let mut out = HEAD.to_owned();
    let mut choices = String::new();
    let mut names = String::new();
    for row in tables::names() {
        let name = row.name.unwrap_or_default();
        let mark = if row.placeholder.is_some() && !row.is_optional { "=" } else { "" };
        names.push_str(&format!("    printf '%s\\t%s\\n' \"$head\"{name}{mark} {}\n", quoted(&brief(&row))));
        match value(&row) {
            Value::Word(words) => {
                choices.push_str(&format!("            case {name}\n                printf '%s\\n' \"$head$name=\"{}\n", each(words)));
            }
            Value::File => choices.push_str(&format!(
                "            case {name}\n                printf '%s\\n' \"$head$name=\"(__fish_complete_path $value | string replace -r '\\t.*' '')\n"
            )),
            _ => {}
        }
    }
    out = out.replace("@CHOICES@", &choices).replace("@NAMES@", &names);
    for row in option_rows() {
        out.push_str(&line(&row));
    }
    let (words, _) = hash_password_row();
    let name = words.split(' ').next().unwrap_or_default().trim_start_matches('-');
    out.push_str(&format!(
        "complete -c oxcached -l {name} -x -a '(__fish_complete_users)' -d 'Print a line for a file of users'\n"
    ));
    out
}

/// Words as a list that fish multiplies with what stands before it.
fn each(words: &[&str]) -> String {
    format!("{{{}}}", words.join(","))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn line(row: &OptionRow) -> String {
    let letter = row.letter.map(|letter| format!(" -s {letter}")).unwrap_or_default();
    let long = row.name.map(|name| format!(" -l {name}")).unwrap_or_default();
    let kind = match value(row) {
        Value::Nothing => String::new(),
        Value::File => " -r -F".to_owned(),
        Value::User => " -x -a '(__fish_complete_users)'".to_owned(),
        Value::Word(words) => format!(" -x -a '{}'", words.join(" ")),
        Value::Names => " -x -a '(__oxcached_names)'".to_owned(),
        Value::Other => " -x".to_owned(),
    };
    format!("complete -c oxcached{letter}{long}{kind} -d {}\n", quoted(&brief(row)))
}

const HEAD: &str = r#"# fish completion for oxcached. Made by `make docs` from the option table. Changes here are lost.

# The names of -o, behind what the list has already.
function __oxcached_names
    set -l list (commandline -ct | string replace -r '^(-o|--extended=)' '')
    set -l last (string split , -- $list)[-1]
    set -l head (string sub -l (math (string length -- $list) - (string length -- $last)) -- $list)
    if string match -q '*=*' -- $last
        set -l name (string split -m 1 = -- $last)[1]
        set -l value (string split -m 1 = -- $last)[2]
        switch $name
@CHOICES@        end
        return
    end
@NAMES@end

complete -c oxcached -f
"#;
