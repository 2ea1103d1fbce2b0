//! Words of a line of the configuration file.
//!
//! Owns its quotes and escapes, which are the shell's, and refuses what only a shell could carry out: variables,
//! commands, operators. Must not know options or files. `config` splits lines, `given` writes them.

use super::number::is_space;

/// Quotes around the current character.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Bare,
    Single,
    Double,
}

/// Splits a line into words as a shell does, without expansions.
///
/// # Errors
/// What is wrong with the line, in words.
pub(super) fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quotes = Quotes::Bare;
    let mut rest = line;
    while let Some((&byte, behind)) = rest.split_first() {
        let from = rest;
        rest = behind;
        match (quotes, byte) {
            (Quotes::Bare, byte) if is_space(byte) => words.extend(word.take()),
            (Quotes::Bare, b'\'') => (quotes, word) = (Quotes::Single, word.or_else(|| Some(Vec::new()))),
            (Quotes::Bare, b'"') => (quotes, word) = (Quotes::Double, word.or_else(|| Some(Vec::new()))),
            (Quotes::Single, b'\'') | (Quotes::Double, b'"') => quotes = Quotes::Bare,
            (Quotes::Bare, b'\\') => {
                let Some((&next, behind)) = rest.split_first() else {
                    return Err("nothing follows the backslash at the end".to_owned());
                };
                rest = behind;
                word.get_or_insert_default().push(next);
            }
            (Quotes::Double, b'\\') if rest.first().is_some_and(|next| b"$`\"\\".contains(next)) => {
                word.get_or_insert_default().push(rest[0]);
                rest = &rest[1..];
            }
            (Quotes::Bare | Quotes::Double, b'$' | b'`') if let Some(complaint) = expansion(from) => {
                return Err(complaint);
            }
            (Quotes::Bare, b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')') => {
                return Err(format!("no shell carries out \"{0}\" (\\{0} is the character)", char::from(byte)));
            }
            (Quotes::Bare, b'~') if word.is_none() => {
                return Err("no shell expands \"~\" (\\~ is the character)".to_owned());
            }
            _ => word.get_or_insert_default().push(byte),
        }
    }
    if quotes != Quotes::Bare {
        let which = if quotes == Quotes::Single { "single" } else { "double" };
        return Err(format!("the {which} quotes are not closed (write # as \\#, outside of quotes)"));
    }
    words.extend(word);
    Ok(words)
}

/// The complaint about a variable or command that begins here; `None` for a `$` that a shell leaves alone.
fn expansion(text: &[u8]) -> Option<String> {
    if text[0] == b'`' || text.get(1) == Some(&b'(') {
        return Some("no shell runs the command of \"`\" or \"$(\"".to_owned());
    }
    let name = &text[1..];
    let letters = name.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    let length = match name.first() {
        Some(b'{') => memchr::memchr(b'}', name).map_or(name.len(), |end| end + 1),
        Some(b'@' | b'*' | b'#' | b'?' | b'-' | b'$' | b'!') => 1,
        _ if letters > 0 => letters,
        _ => return None,
    };
    let name = String::from_utf8_lossy(&name[..length]);
    Some(format!("no shell expands \"${name}\" (\\$ is the character)"))
}

/// Writes a word as [`split`] reads it. Control characters are escaped for the eye only: a line cannot hold them all.
pub(super) fn quoted(word: &[u8]) -> String {
    if word.is_empty() {
        return "''".to_owned();
    }
    let mut text = String::with_capacity(word.len());
    for chunk in word.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() {
                text.extend(letter.escape_default());
                continue;
            }
            if letter.is_ascii() && !letter.is_ascii_alphanumeric() && !"-_./:,=+@%^*?[]{}".contains(letter) {
                text.push('\\');
            }
            text.push(letter);
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let words = split(line.as_bytes()).unwrap_or_else(|complaint| panic!("{line}: {complaint}"));
        words.into_iter().map(|word| String::from_utf8(word).unwrap()).collect()
    }

    /// Each case is what `sh -c 'printf "%s\n" LINE'` prints.
    #[test]
    fn words_are_those_of_a_shell() {
        for (line, expected) in [
            ("-m 64", &["-m", "64"][..]),
            ("  -o  a,b=c\t-v ", &["-o", "a,b=c", "-v"]),
            (r#"-s "/run/my cache/a.sock" x"#, &["-s", "/run/my cache/a.sock", "x"]),
            (r"-s /run/my\ cache/a", &["-s", "/run/my cache/a"]),
            (r#"'a"b' "c'd" e'f'"g""#, &["a\"b", "c'd", "efg"]),
            (r#"'a\b' "a\b" a\b"#, &["a\\b", "a\\b", "ab"]),
            (r#""a\"b\\c\$d\`e""#, &["a\"b\\c$d`e"]),
            (r#"'' "" a"#, &["", "", "a"]),
            (r"a\#b '$HOME' \$HOME $ a$ $/", &["a#b", "$HOME", "$HOME", "$", "a$", "$/"]),
            ("-l [::1]:11211,*:5 a~b", &["-l", "[::1]:11211,*:5", "a~b"]),
            (r"'a;b' a\;b '~' \~ '`'", &["a;b", "a;b", "~", "~", "`"]),
            ("", &[]),
        ] {
            assert_eq!(words(line), expected, "{line}");
        }
        assert_eq!(split(b"-P /\xff\x80").unwrap(), [&b"-P"[..], b"/\xff\x80"]);
    }

    #[test]
    fn what_needs_a_shell_is_refused() {
        for (line, complaint) in [
            ("-m $MEMORY", "no shell expands \"$MEMORY\""),
            ("-m \"${MEM:-64}x\"", "no shell expands \"${MEM:-64}\""),
            ("-m $1", "no shell expands \"$1\""),
            ("-m $$", "no shell expands \"$$\""),
            ("-m ${", "no shell expands \"${\""),
            ("-m $(nproc)", "no shell runs the command"),
            ("-m \"`nproc`\"", "no shell runs the command"),
            ("-e ~/file", "no shell expands \"~\""),
            ("-v >> /var/log/x", "no shell carries out \">\""),
            ("-v & reboot", "no shell carries out \"&\""),
            ("-l a;b", "no shell carries out \";\""),
            ("-v (", "no shell carries out \"(\""),
            ("-s 'a", "the single quotes are not closed"),
            ("-s \"a'", "the double quotes are not closed"),
            ("-s a\\", "nothing follows the backslash"),
        ] {
            let got = split(line.as_bytes()).unwrap_err();
            assert!(got.starts_with(complaint), "{line}: {got}");
        }
    }

    #[test]
    fn quoted_words_are_read_back() {
        for word in ["", "a b", "'", "\"", "\\", "$HOME", "`x`", "~", "a#b", "a;b|c&d<e>(f)", "äöü", "!", "[::1]:5,*"]
        {
            assert_eq!(words(&quoted(word.as_bytes())), [word], "{word}");
        }
        assert_eq!(quoted(b"a\n\xff"), "a\\n\\xff");
    }
}
