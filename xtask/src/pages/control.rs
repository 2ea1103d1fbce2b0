//! oxctl(1).

use super::{DATE, sentence, source};
use crate::roff::Page;
use crate::tables::control::{ADDRESSES, COMMANDS, EXIT_CODES, FORMS, MODES, OPTIONS, Row};

/// The page.
pub(crate) fn page() -> String {
    let mut page = Page::new("oxctl", 1, [DATE, &source(), "General Commands Manual"]);
    page.section("Name");
    page.text("oxctl - look at servers of memcached's protocol");
    page.section("Synopsis");
    page.synopsis("oxctl", &FORMS.map(styled).each_ref().map(String::as_str));
    page.section("Description");
    page.text(
        "*oxctl* talks to oxcached or memcached over the text protocol. Reports that memcached does not have end with exit \
         status 2 there.",
    );
    page.paragraph(&with_slots(ADDRESSES, ADDRESSES));
    page.section("Commands");
    terms(&mut page, COMMANDS);
    page.section("Modes");
    page.text("With an address in front, the words of *memcached-tool*(1):");
    terms(&mut page, MODES);
    page.section("Options");
    terms(&mut page, OPTIONS);
    page.section("Exit status");
    for (code, meaning) in EXIT_CODES {
        page.row(&code.to_string(), &sentence(&meaning.replace('\n', " ")));
    }
    page.section("Examples");
    page.text("A health check, the state of a server as JSON, a view while it works, and a copy of its items:");
    page.example(
        "oxctl --timeout 2 ping\noxctl -s cache1:11211 stats --json\noxctl top\noxctl dump items.txt && oxctl -s cache2 load items.txt",
    );
    page.section("See also");
    page.text("*oxcached*(1)");
    page.finish()
}

fn terms(page: &mut Page, rows: &[Row]) {
    for (form, meaning) in rows {
        let meaning = meaning.replace('\n', " ");
        let first = meaning.split([' ', ':']).next().unwrap_or_default();
        // A text that begins with the command it belongs to keeps its spelling.
        let is_command = COMMANDS.iter().any(|(form, _)| form.split(' ').next() == Some(first));
        let text = if is_command { format!("{meaning}.") } else { sentence(&meaning) };
        page.term(&styled(form.trim_start()), &with_slots(&text, form));
    }
}

/// The text, with the words in italics that stand for something in `form`.
fn with_slots(text: &str, form: &str) -> String {
    let is_slot = |word: &str| word.starts_with(|c: char| c.is_ascii_uppercase()) && !word.contains(char::is_lowercase);
    let slots: Vec<&str> = form.split(|c: char| !c.is_alphanumeric()).filter(|word| is_slot(word)).collect();
    let mut out = String::new();
    for part in text.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let word = part.trim_end_matches(|c: char| !c.is_alphanumeric());
        if slots.contains(&word) {
            out.push_str(&format!("_{}_{}", word.to_lowercase(), &part[word.len()..]));
        } else {
            out.push_str(part);
        }
    }
    out
}

/// A form with what is typed in bold, and what is replaced in italics.
fn styled(form: &str) -> String {
    let mut out = String::new();
    let mut rest = form;
    while !rest.is_empty() {
        let end = rest.find([' ', '[', ']', '|', ',', ':', '.']).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        if !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase()) {
            out.push_str(&format!("_{}_", word.to_lowercase()));
        } else if word.len() > 1 {
            out.push_str(&format!("*{word}*"));
        } else {
            out.push_str(word);
        }
        let next = behind.chars().next().map_or(0, char::len_utf8);
        out.push_str(&behind[..next]);
        rest = &behind[next..];
    }
    out
}
