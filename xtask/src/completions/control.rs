//! oxctl's completions: options, commands, and modes behind an address.
//!
//! Owns how the forms of oxctl's table are read: what begins with a dash is an option, and a word in capitals behind it
//! stands for its value.

use crate::tables::control::{COMMANDS, MODES, OPTIONS, Row};

/// An option of oxctl.
struct ControlOption {
    spellings: Vec<&'static str>,
    /// The word that stands for its value.
    slot: Option<&'static str>,
    text: &'static str,
}

fn words(form: &'static str) -> impl Iterator<Item = &'static str> {
    form.split([' ', ',']).filter(|word| !word.is_empty())
}

fn options() -> Vec<ControlOption> {
    let mut options: Vec<ControlOption> = Vec::new();
    for (form, text) in OPTIONS {
        for word in words(form) {
            match options.last_mut() {
                // A letter and the long name of the same option.
                Some(last) if word.starts_with("--") && last.slot.is_none() && last.spellings[0].len() == 2 => {
                    last.spellings.push(word);
                }
                Some(last) if !word.starts_with('-') => last.slot = Some(word),
                _ => options.push(ControlOption { spellings: vec![word], slot: None, text }),
            }
        }
    }
    options
}

/// The names in a table of forms, with their meanings.
fn names(rows: &'static [Row]) -> Vec<(&'static str, String)> {
    let is_name = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase());
    let named = |&(form, text): &Row| words(form).filter(is_name).map(move |name| (name, brief(text)));
    rows.iter().flat_map(named).collect()
}

/// The meaning up to its first pause, without the command that an option belongs to.
fn brief(text: &str) -> String {
    let line = text.replace('\n', " ");
    let is_command = |head: &str| COMMANDS.iter().any(|(form, _)| words(form).next() == head.split(' ').next());
    let line = line.split_once(": ").filter(|(head, _)| is_command(head)).map_or(&*line, |(_, rest)| rest);
    let pause = line.char_indices().find(|(at, c)| *at > 8 && [';', ':', ',', '('].contains(c));
    line[..pause.map_or(line.len(), |(at, _)| at)].trim_end().to_owned()
}

/// Commands that take a file.
fn with_files() -> Vec<&'static str> {
    let takes_file = |form: &str| form.contains("FILE");
    COMMANDS.iter().filter(|(form, _)| takes_file(form)).filter_map(|(form, _)| words(form).next()).collect()
}

/// Classes of `watch`, which its meaning lists behind a colon.
fn classes() -> Vec<&'static str> {
    let watch = COMMANDS.iter().find(|(form, _)| form.starts_with("watch"));
    let list = watch.and_then(|(_, text)| text.split_once(": ")).map_or("", |(_, list)| list);
    list.split([',', ' ', '\n']).filter(|class| !class.is_empty()).collect()
}

fn only_names(rows: &[(&'static str, String)]) -> Vec<&'static str> {
    rows.iter().map(|(name, _)| *name).collect()
}

fn spellings(fits: impl Fn(&ControlOption) -> bool) -> Vec<&'static str> {
    options().into_iter().filter(|option| fits(option)).flat_map(|option| option.spellings).collect()
}

fn filled(template: &str, between: &str) -> String {
    let (commands, modes) = (only_names(&names(COMMANDS)), only_names(&names(MODES)));
    template
        .replace("@OPTIONS@", &spellings(|_| true).join(" "))
        .replace("@VALUED@", &spellings(|option| option.slot.is_some()).join(between))
        .replace("@FILES@", &spellings(|option| option.slot == Some("FILE")).join(between))
        .replace("@COMMANDS@", &commands.join(" "))
        .replace("@MODES@", &modes.join(" "))
        .replace("@WITH_FILES@", &with_files().join(between))
        .replace("@CLASSES@", &classes().join(" "))
        .replace("@OTHER_COMMANDS@", &commands.join(between))
}

/// Text within single quotes.
fn zsh_quoted(text: &str) -> String {
    text.replace('\'', "'\\''")
}

fn fish_quoted(text: &str) -> String {
    text.replace('\'', "\\'")
}

/// The script for bash.
pub(crate) fn bash() -> String {
    filled(BASH, " | ")
}

/// The script for zsh.
pub(crate) fn zsh() -> String {
    let described = |rows: Vec<(&str, String)>| {
        let rows: Vec<String> = rows.iter().map(|(name, text)| format!("'{name}:{}'", zsh_quoted(text))).collect();
        rows.join("\n        ")
    };
    let argument = |option: &ControlOption| {
        let all = &option.spellings;
        let action = match option.slot {
            None => "",
            Some("FILE") => ":file:_files",
            Some("ADDRESS") => ":address:_hosts",
            Some(_) => ":value: ",
        };
        let mark = |word: &&str| match (option.slot, word.len()) {
            (None, _) => (*word).to_owned(),
            (_, 2) => format!("{word}+"),
            _ => format!("{word}="),
        };
        let marked: Vec<String> = all.iter().map(mark).collect();
        let marked = if all.len() > 1 { format!("{{{}}}", marked.join(",")) } else { marked.concat() };
        format!("'({})'{marked}'[{}]{action}'", all.join(" "), zsh_quoted(&brief(option.text)))
    };
    let arguments: Vec<String> = options().iter().map(argument).collect();
    filled(ZSH, "|")
        .replace("@ARGUMENTS@", &arguments.join(" \\\n        "))
        .replace("@DESCRIBED_COMMANDS@", &described(names(COMMANDS)))
        .replace("@DESCRIBED_MODES@", &described(names(MODES)))
}

/// The script for fish.
pub(crate) fn fish() -> String {
    let mut out = filled(FISH, " ");
    for option in options() {
        let spelled = option.spellings.iter().map(|word| match word.strip_prefix("--") {
            Some(long) => format!(" -l {long}"),
            None => format!(" -s {}", word.trim_start_matches('-')),
        });
        let kind = match option.slot {
            None => "",
            Some("FILE") => " -r -F",
            Some("ADDRESS") => " -x -a '(__fish_print_hostnames)'",
            Some(_) => " -x",
        };
        let spelled: String = spelled.collect();
        out.push_str(&format!("complete -c oxctl{spelled}{kind} -d '{}'\n", fish_quoted(&brief(option.text))));
    }
    for (rows, condition) in [(COMMANDS, "__oxctl_is \"\""), (MODES, "__oxctl_has_address")] {
        for (name, text) in names(rows) {
            out.push_str(&format!("complete -c oxctl -n '{condition}' -a {name} -d '{}'\n", fish_quoted(&text)));
        }
    }
    out
}

const BASH: &str = r#"# bash completion for oxctl. Made by `make docs` from its table of commands. Changes here are lost.

_oxctl() {
    local _current=${COMP_WORDS[COMP_CWORD]} _before=${COMP_WORDS[COMP_CWORD-1]} _first= _words= _kind= _at
    # The command, or the address in front of a mode. bash splits words at ":" too.
    for ((_at = 1; _at < COMP_CWORD; _at++)); do
        case ${COMP_WORDS[_at]} in
            @VALUED@ | :) ((_at++)) ;;
            -*) ;;
            *) _first=${COMP_WORDS[_at]}; break ;;
        esac
    done
    case $_before in
        @FILES@) _kind=file ;;
        @VALUED@) ;;
        *)
            case $_current in
                -*) _words='@OPTIONS@' ;;
                *)
                    case $_first in
                        '') _words='@COMMANDS@' ;;
                        @WITH_FILES@) _kind=file ;;
                        watch) _words='@CLASSES@' ;;
                        @OTHER_COMMANDS@) ;;
                        *) _words='@MODES@' ;;
                    esac
                    ;;
            esac
            ;;
    esac
    COMPREPLY=()
    if [[ $_words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$_words" -- "$_current")
    elif [[ $_kind ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$_current")
        compopt -o filenames 2>/dev/null
    fi
}
complete -F _oxctl oxctl
"#;

const ZSH: &str = r#"#compdef oxctl
# zsh completion for oxctl. Made by `make docs` from its table of commands. Changes here are lost.

_oxctl() {
    local state line
    local -a commands modes
    commands=(
        @DESCRIBED_COMMANDS@
    )
    modes=(
        @DESCRIBED_MODES@
    )
    _arguments -s -S : \
        @ARGUMENTS@ \
        '1: :->first' '*: :->rest'
    case $state in
        first) _describe -t commands command commands ;;
        rest)
            case $line[1] in
                @WITH_FILES@) _files ;;
                watch) compadd @CLASSES@ ;;
                @OTHER_COMMANDS@) ;;
                *) _describe -t modes mode modes ;;
            esac
            ;;
    esac
}

if [[ $funcstack[1] == _oxctl ]]; then
    _oxctl "$@"
else
    compdef _oxctl oxctl
fi
"#;

const FISH: &str = r#"# fish completion for oxctl. Made by `make docs` from its table of commands. Changes here are lost.

# Whether the command, or the address in front of a mode, is one of the words; "" if there is none yet.
function __oxctl_is
    set -l skips
    for word in (commandline -opc)[2..]
        if set -q skips[1]
            set skips
            continue
        end
        switch $word
            case @VALUED@
                set skips yes
            case '-*'
            case '*'
                contains -- $word $argv
                return
        end
    end
    contains -- "" $argv
end

function __oxctl_has_address
    not __oxctl_is "" @COMMANDS@
end

complete -c oxctl -f
complete -c oxctl -n '__oxctl_is @WITH_FILES@' -F
complete -c oxctl -n '__oxctl_is watch' -a '@CLASSES@'
"#;
