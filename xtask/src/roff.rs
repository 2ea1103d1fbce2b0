//! A page in roff, with the macros of man(7).
//!
//! Owns escapes and macros. Text is plain but for two marks: `*bold*` and `_italic_`, where a mark begins a word and ends
//! one; other stars and underscores are letters. Must not know what a page says.

use std::fmt::Write as _;

/// A page in progress.
pub(crate) struct Page(String);

impl Page {
    /// Begins the page `name` of `section`; `date`, `source` and `manual` fill its foot and head.
    pub(crate) fn new(name: &str, section: u8, [date, source, manual]: [&str; 3]) -> Self {
        let name = plain(&name.to_uppercase());
        let (source, manual) = (plain(source), plain(manual));
        Self(format!(
            ".\\\" Made by `make docs` from the option table. Changes here are lost.\n\
             .TH \"{name}\" \"{section}\" \"{date}\" \"{source}\" \"{manual}\"\n\
             .nh\n.ad l\n"
        ))
    }

    /// A section.
    pub(crate) fn section(&mut self, title: &str) {
        self.line(format_args!(".SH {}", plain(&title.to_uppercase())));
    }

    /// A part of a section.
    pub(crate) fn part(&mut self, title: &str) {
        self.line(format_args!(".SS {}", plain(title)));
    }

    /// A paragraph.
    pub(crate) fn paragraph(&mut self, text: &str) {
        self.line(format_args!(".PP\n{}", marked(text)));
    }

    /// The first text of a section, which needs no macro before it.
    pub(crate) fn text(&mut self, text: &str) {
        self.line(format_args!("{}", marked(text)));
    }

    /// A term and what it means.
    pub(crate) fn term(&mut self, term: &str, text: &str) {
        self.line(format_args!(".TP\n{}\n{}", marked(term), marked(text)));
    }

    /// As [`Page::term`], with a text that has no marks.
    pub(crate) fn row(&mut self, term: &str, text: &str) {
        self.line(format_args!(".TP\n{}\n{}", marked(term), protected(&plain(text))));
    }

    /// Lines as they stand.
    pub(crate) fn example(&mut self, lines: &str) {
        let lines: Vec<String> = lines.lines().map(|line| protected(&plain(line))).collect();
        self.line(format_args!(".PP\n.in +4n\n.EX\n{}\n.EE\n.in", lines.join("\n")));
    }

    /// The synopsis of a command: its name, and a line for each form.
    pub(crate) fn synopsis(&mut self, name: &str, forms: &[&str]) {
        for (number, form) in forms.iter().enumerate() {
            if number > 0 {
                self.line(format_args!(".br"));
            }
            self.text(&format!("*{name}* {form}"));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.0, "{line}");
    }

    /// The page.
    pub(crate) fn finish(self) -> String {
        self.0
    }
}

/// Text without marks, escaped.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '"' => out.push_str("\\(dq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            letter => out.push(letter),
        }
    }
    out
}

/// A line whose first letter is no request.
fn protected(line: &str) -> String {
    if line.starts_with('.') { format!("\\&{line}") } else { line.to_owned() }
}

/// Text with marks, escaped; sentences begin lines, which roff spaces by itself.
fn marked(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['*', '_']) {
        let begins = rest[..at].chars().next_back().or(out.chars().next_back()).is_none_or(|c| " ([/,|=:".contains(c));
        let mark = &rest[at..=at];
        let inner = &rest[at + 1..];
        let is_end = |end: &usize| inner[end + 1..].chars().next().is_none_or(|c| !c.is_alphanumeric());
        let found = inner.match_indices(mark).map(|(end, _)| end).find(is_end).filter(|end| *end > 0 && begins);
        match found {
            Some(end) if !inner.starts_with(' ') => {
                let font = if mark == "*" { "\\fB" } else { "\\fI" };
                let _ = write!(out, "{}{font}{}\\fR", plain(&rest[..at]), plain(&inner[..end]));
                rest = &inner[end + 1..];
            }
            _ => {
                let _ = write!(out, "{}", plain(&rest[..=at]));
                rest = inner;
            }
        }
    }
    out.push_str(&plain(rest));
    protected(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_letters() {
        for (text, roff) in [
            ("*-m* _num_", "\\fB\\-m\\fR \\fInum\\fR"),
            ("a *b c*.", "a \\fBb c\\fR."),
            ("(*b*) /_c_/", "(\\fBb\\fR) /\\fIc\\fR/"),
            ("*-o* *slab_automove*[=_0|1_]", "\\fB\\-o\\fR \\fBslab_automove\\fR[=\\fI0|1\\fR]"),
            ("slab_automove and 2*3 and *", "slab_automove and 2*3 and *"),
            ("[IPv6] address or *, then", "[IPv6] address or *, then"),
            ("a*b* c_d_", "a*b* c_d_"),
            ("_a_:_b_", "\\fIa\\fR:\\fIb\\fR"),
            (".so it's \\ \"x\"", "\\&.so it\\(aqs \\e \\(dqx\\(dq"),
        ] {
            assert_eq!(marked(text), roff, "{text}");
        }
    }

    #[test]
    fn lines_of_examples_are_no_requests() {
        let mut page = Page::new("x", 1, ["2026-01-01", "y", "z"]);
        page.example(".so a\n*b* -c");
        assert!(page.finish().ends_with(".EX\n\\&.so a\n*b* \\-c\n.EE\n.in\n"));
    }
}
