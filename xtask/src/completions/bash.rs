//! bash: a function that fills `COMPREPLY`, without the library bash-completion.

use super::{Value, spellings, value};
use crate::tables;
use oxcached::settings::{OptionRow, hash_password_row, option_rows};

/// The script.
pub(crate) fn script() -> String {
    let rows = option_rows();
    let words: Vec<String> = rows
        .iter()
        .flat_map(|row| spellings(row).into_iter().map(move |word| word + if is_long(row) { "=" } else { "" }))
        .map(|word| if word.starts_with("--") { word } else { word.trim_end_matches('=').to_owned() })
        .collect();
    let hash = hash_password_row().0.split(' ').next().unwrap_or_default().to_owned();
    let names: Vec<String> = tables::names().iter().map(name_word).collect();
    let choices: Vec<String> = tables::names().iter().filter_map(name_case).collect();
    let spelled = |fits: fn(&Value) -> bool| {
        let all: Vec<String> = rows.iter().filter(|row| fits(&value(row))).flat_map(spellings).collect();
        all.join(" | ")
    };
    let cases: Vec<String> = rows
        .iter()
        .filter_map(|row| match value(row) {
            Value::Word(words) => {
                Some(format!("        {}) _words='{}' ;;\n", spellings(row).join(" | "), words.join(" ")))
            }
            _ => None,
        })
        .collect();
    TEMPLATE
        .replace("@OPTIONS@", &wrapped(&[words, vec![hash]].concat()))
        .replace("@NAMES@", &wrapped(&names))
        .replace("@FILES@", &spelled(|value| matches!(value, Value::File)))
        .replace("@USERS@", &spelled(|value| matches!(value, Value::User)))
        .replace("@LISTS@", &spelled(|value| matches!(value, Value::Names)))
        .replace("@OTHERS@", &spelled(|value| matches!(value, Value::Other)))
        .replace("@WORDS@", &cases.concat())
        .replace("@CHOICES@", &choices.concat())
}

/// Whether the long name is followed by a value.
fn is_long(row: &OptionRow) -> bool {
    row.placeholder.is_some()
}

/// A name of `-o`, with `=` where it needs a value.
fn name_word(row: &OptionRow) -> String {
    let mark = if row.placeholder.is_some() && !row.is_optional { "=" } else { "" };
    format!("{}{mark}", row.name.unwrap_or_default())
}

/// The values of a name of `-o`.
fn name_case(row: &OptionRow) -> Option<String> {
    let name = row.name.unwrap_or_default();
    match value(row) {
        Value::Word(words) => Some(format!("                {name}) _words='{}' ;;\n", words.join(" "))),
        Value::File => Some(format!("                {name}) _kind=file ;;\n")),
        _ => None,
    }
}

/// Words in lines of some 100 columns.
fn wrapped(words: &[String]) -> String {
    let mut out = String::new();
    let mut width = 0;
    for word in words {
        if width + word.len() > 90 {
            out.push_str("\n        ");
            width = 0;
        } else if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
        width += word.len() + 1;
    }
    out
}

const TEMPLATE: &str = r#"# bash completion for oxcached. Made by `make docs` from the option table. Changes here are lost.

_oxcached() {
    local _options='@OPTIONS@'
    local _names='@NAMES@'
    # The word that is being typed, and the one before it. bash splits words at "=" and ":" too: what it takes for the
    # word is put back at the end.
    local _line=${COMP_LINE:0:COMP_POINT} _token _before _part=${COMP_WORDS[COMP_CWORD]}
    [[ $_part == [=:] ]] && _part=
    _token=${_line##*[[:space:]]}
    _before=${_line%"$_token"}
    _before=${_before%"${_before##*[![:space:]]}"}
    _before=${_before##*[[:space:]]}
    local _head= _value=$_token _option=$_before _kind= _words=
    case $_token in
        --*=*) _option=${_token%%=*} _head=${_token%%=*}= _value=${_token#*=} ;;
        -*) _option= ;;
    esac
    case $_option in
        @FILES@) _kind=file ;;
        @USERS@) _kind=user ;;
@WORDS@        @LISTS@)
            # The last name of the list.
            _head+=${_value%"${_value##*,}"} _value=${_value##*,}
            case $_value in
                *=*)
                    local _name=${_value%%=*}
                    _head+=$_name= _value=${_value#*=} _kind=other
                    case $_name in
@CHOICES@                    esac
                    ;;
                *) _words=$_names ;;
            esac
            ;;
        @OTHERS@) _kind=other ;;
        *) _words=$_options ;;
    esac
    local _found=()
    if [[ $_words ]]; then
        mapfile -t _found < <(compgen -W "$_words" -- "$_value")
    elif [[ $_kind == file ]]; then
        mapfile -t _found < <(compgen -f -- "$_value")
        compopt -o filenames 2>/dev/null
    elif [[ $_kind == user ]]; then
        mapfile -t _found < <(compgen -u -- "$_value")
    fi
    local _skip=${_token%"$_part"} _each
    COMPREPLY=()
    for _each in "${_found[@]}"; do
        _each=$_head$_each
        COMPREPLY+=("${_each#"$_skip"}")
    done
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= || $_option == -o || $_option == --extended ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _oxcached oxcached
"#;
