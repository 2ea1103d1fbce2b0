//! Reports that name keys: `stats hotkeys`, `stats largest`, `stats prefixes`.
//!
//! Owns their arguments, rows and steps. A step takes some 50 us, or appends some kilobytes; other connections run
//! between two steps. memcached has none of these reports. Like its dumps, they are refused with `-X`. Independent of
//! the wire format: the calling protocol supplies the form of the rows.

use super::listing::{Listed, Listing, room};
use super::report::Form;
use super::{Cx, Output};
use crate::decimal;
use crate::hotkeys::{AccessTally, HotKey, HotKeyMerge, HotKeyWindow, Merged, Weight};
use crate::limits::{HEADROOM, HOTKEYS_SHOWN_MAX, KEY_MAX, LARGEST_SHOWN_MAX, PREFIXES_SHOWN_MAX};
use crate::printable::PercentEncoded;
use crate::report::{LargeItem, LargestItems, PrefixUsage, Usage, UsageReport};
use crate::stats::BudgetShare;
use crate::sys::headroom;
use std::fmt::{self, Display};
use std::sync::Arc;

/// Rows listed where no number is given.
const ROWS: usize = 10;

/// Slots passed in one step of a search for the largest items, most of them without a lock.
const SIZE_SLOTS: u32 = 1024;

/// Slots passed in one step of a count by prefix; each item is read under its bucket's lock.
const KEY_SLOTS: u32 = 256;

/// Upper bound for a row: an escaped key, and a dozen numbers with their names.
const ROW_MAX: usize = 3 * KEY_MAX + 500;

/// Why a report is refused.
pub(super) enum ReportRefused {
    /// `-X` forbids the report; with the reply.
    NotAllowed(&'static str),
    /// Wrong arguments; with the reply, which shows the usage.
    Usage(&'static str),
    /// Memory is short.
    NoMemory,
}

impl ReportRefused {
    /// The line of the text protocol.
    pub(super) fn line(&self) -> &'static str {
        match *self {
            Self::NotAllowed(line) | Self::Usage(line) => line,
            Self::NoMemory => "SERVER_ERROR out of memory",
        }
    }
}

/// A report that has begun, or why not.
type Begun = Result<Box<dyn Listing>, ReportRefused>;

/// Begins the report of this name with these arguments; `None` if it is no report of this file.
pub(super) fn begin<F: Form + 'static>(cx: &Cx<'_>, name: &[u8], words: &[&[u8]], form: F) -> Option<Begun> {
    let not_allowed = match name {
        b"hotkeys" => "CLIENT_ERROR stats hotkeys not allowed",
        b"largest" => "CLIENT_ERROR stats largest not allowed",
        b"prefixes" => "CLIENT_ERROR stats prefixes not allowed",
        _ => return None,
    };
    if !cx.shared.settings.dump_enabled {
        return Some(Err(ReportRefused::NotAllowed(not_allowed)));
    }
    if !headroom::is_there(HotKeyMerge::BYTES_MAX + HEADROOM) {
        return Some(Err(ReportRefused::NoMemory));
    }
    Some(match name {
        b"hotkeys" => hot_keys(cx, words, form),
        b"largest" => largest(cx, words, form),
        _ => prefixes(cx, words, form),
    })
}

/// Number of rows: the only word, or `ROWS` without words; from 1 to `max`.
fn rows(words: &[&[u8]], max: usize, usage: &'static str) -> Result<usize, ReportRefused> {
    let given = match words {
        [] => Some(ROWS as u32),
        [word] => decimal::token_u32(word),
        _ => None,
    };
    let rows = given.map(|rows| rows as usize).filter(|rows| (1..=max).contains(rows));
    rows.ok_or(ReportRefused::Usage(usage))
}

fn hot_keys<F: Form + 'static>(cx: &Cx<'_>, words: &[&[u8]], form: F) -> Begun {
    const USAGE: &str = "CLIENT_ERROR usage: stats hotkeys [reads|writes|misses|bytes] [1-100]";
    let named = words.first().and_then(|word| Weight::ALL.into_iter().find(|weight| weight.word().as_bytes() == *word));
    let count = rows(&words[usize::from(named.is_some())..], HOTKEYS_SHOWN_MAX, USAGE)?;
    let (taken, merge) =
        (cx.shared.stats.globals.reports.share(), cx.shared.cache.hotkeys.begin_merge(cx.shared.clock.now()));
    let weight = named.unwrap_or(Weight::Reads);
    Ok(Box::new(HotKeyRows { form, weight, count, taken, state: HotKeyState::Merging(Box::new(merge)) }))
}

fn largest<F: Form + 'static>(cx: &Cx<'_>, words: &[&[u8]], form: F) -> Begun {
    let count = rows(words, LARGEST_SHOWN_MAX, "CLIENT_ERROR usage: stats largest [1-100]")?;
    let items = LargestItems::new(cx.shared.cache.store, count).ok_or(ReportRefused::NoMemory)?;
    Ok(Box::new(LargestRows { form, search: Some(items), rest: Vec::new(), next: 1 }))
}

fn prefixes<F: Form + 'static>(cx: &Cx<'_>, words: &[&[u8]], form: F) -> Begun {
    const USAGE: &str = "CLIENT_ERROR usage: stats prefixes [delimiter] [1-1000]";
    let shared = cx.shared;
    // A digit alone is a number of rows.
    let (delimiter, words) = match words {
        [[byte], rest @ ..] if !byte.is_ascii_digit() || !rest.is_empty() => (*byte, rest),
        _ => (shared.cache.prefixes.delimiter(), words),
    };
    let count = rows(words, PREFIXES_SHOWN_MAX, USAGE)?;
    let usage = PrefixUsage::new(shared.cache.store, &shared.stats, delimiter).ok_or(ReportRefused::NoMemory)?;
    let state = PrefixState::Counting(Box::new(usage));
    Ok(Box::new(PrefixRows { form, delimiter, count, next: 1, state }))
}

/// `stats hotkeys`.
struct HotKeyRows<F> {
    form: F,
    weight: Weight,
    count: usize,
    taken: BudgetShare,
    state: HotKeyState,
}

enum HotKeyState {
    Merging(Box<HotKeyMerge>),
    /// A window, and the number of rows that are sent.
    Rows(Arc<HotKeyWindow>, usize),
}

impl<F: Form> HotKeyRows<F> {
    /// Appends the rows that come before those of keys.
    fn head(&self, cx: &Cx<'_>, window: Option<&HotKeyWindow>, out: &mut Vec<u8>) {
        let (hotkeys, form) = (&cx.shared.cache.hotkeys, &self.form);
        let is_on = hotkeys.is_on();
        form.row(out, &"hotkeys", &if is_on { "on" } else { "off" });
        if is_on {
            form.row(out, &"sample", &hotkeys.gap());
            form.row(out, &"window", &hotkeys.seconds());
        }
        if let Some(window) = window {
            form.row(out, &"window_end", &cx.shared.clock.unix(window.end));
            form.row(out, &"ranked_by", &self.weight.word());
            form.row(out, &"total", &Rates { window, tally: &window.total });
        }
    }
}

/// Rates of a tally, per second.
struct Rates<'a> {
    window: &'a HotKeyWindow,
    tally: &'a AccessTally,
}

impl Display for Rates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        Weight::ALL.into_iter().try_for_each(|weight| {
            let rate = self.window.rate(weight.of(self.tally));
            write!(f, "{}{}={rate:.1}", std::mem::replace(&mut space, " "), weight.word())
        })
    }
}

/// The row of one key.
struct Ranked<'a> {
    window: &'a HotKeyWindow,
    weight: Weight,
    hot: &'a HotKey,
}

impl Display for Ranked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { window, weight, hot } = *self;
        let (rate, share) = (window.rate(weight.of(&hot.tally)), window.share(weight, hot));
        let (rates, error) = (Rates { window, tally: &hot.tally }, window.rate(hot.error));
        write!(f, "key={} rate={rate:.1} share={share:.4} {rates} error={error:.1}", PercentEncoded(&hot.key))
    }
}

impl<F: Form> Listing for HotKeyRows<F> {
    fn step(&mut self, cx: &Cx<'_>, out: &mut Output) -> Listed {
        if let HotKeyState::Merging(merge) = &mut self.state {
            if !self.taken.grow_to(HotKeyMerge::BYTES_MAX) {
                return Listed::NoMemory;
            }
            let Merged::Done(window) = merge.step(&cx.shared.cache.hotkeys, cx.shared.clock.now()) else {
                return Listed::More;
            };
            if room(out, 2 * ROW_MAX).is_none() {
                return Listed::NoMemory;
            }
            self.head(cx, window.as_deref(), out.bytes());
            let Some(window) = window else {
                self.form.end(out.bytes());
                return Listed::Done;
            };
            self.state = HotKeyState::Rows(window, 0);
        }
        let HotKeyState::Rows(window, sent) = &mut self.state else { return Listed::More };
        let Some(full) = room(out, ROW_MAX) else { return Listed::NoMemory };
        let bytes = out.bytes();
        for hot in window.top(self.weight).take(self.count).skip(*sent) {
            if bytes.len() >= full {
                return Listed::More;
            }
            *sent += 1;
            self.form.row(bytes, sent, &Ranked { window, weight: self.weight, hot });
        }
        self.form.end(bytes);
        Listed::Done
    }
}

/// `stats largest`.
struct LargestRows<F> {
    form: F,
    /// `None` once the search is complete.
    search: Option<LargestItems>,
    /// Items to send, in reverse order.
    rest: Vec<LargeItem>,
    /// Rank of the next item.
    next: usize,
}

impl<F: Form> Listing for LargestRows<F> {
    fn step(&mut self, cx: &Cx<'_>, out: &mut Output) -> Listed {
        let now = cx.shared.clock.now();
        if let Some(search) = &mut self.search {
            if !search.step(cx.shared.cache.store, SIZE_SLOTS, now) {
                return Listed::More;
            }
            self.rest = self.search.take().map(LargestItems::into_items).unwrap_or_default();
        }
        let Some(full) = room(out, ROW_MAX) else { return Listed::NoMemory };
        let bytes = out.bytes();
        while bytes.len() < full {
            let Some(item) = self.rest.pop() else {
                self.form.end(bytes);
                return Listed::Done;
            };
            let LargeItem { key, size, value, class, age, exptime } = item;
            let ttl = if exptime == 0 { -1 } else { i64::from(exptime.saturating_sub(now)) };
            let key = PercentEncoded(&key);
            let row = format_args!("key={key} size={size} value={value} class={class} age={age} ttl={ttl}");
            self.form.row(bytes, &self.next, &row);
            self.next += 1;
        }
        Listed::More
    }
}

/// `stats prefixes`.
struct PrefixRows<F> {
    form: F,
    delimiter: u8,
    count: usize,
    /// Rank of the next row.
    next: usize,
    state: PrefixState,
}

enum PrefixState {
    Counting(Box<PrefixUsage>),
    Rows(Box<UsageReport>),
    /// Memory was short.
    Failed,
}

impl<F: Form> PrefixRows<F> {
    fn head(&self, report: &UsageReport, out: &mut Vec<u8>) {
        self.form.row(out, &"delimiter", &PercentEncoded(&[self.delimiter]));
        self.form.row(out, &"prefixes", &report.prefixes);
        self.form.row(out, &"total", &amount(report.total));
        self.form.row(out, &"without_prefix", &amount(report.without));
        self.form.row(out, &"other_prefixes", &amount(report.other));
    }
}

/// `items=… bytes=…`.
fn amount(Usage { items, bytes }: Usage) -> impl Display {
    fmt::from_fn(move |f| write!(f, "items={items} bytes={bytes}"))
}

impl<F: Form> Listing for PrefixRows<F> {
    fn step(&mut self, cx: &Cx<'_>, out: &mut Output) -> Listed {
        if let PrefixState::Counting(usage) = &mut self.state {
            match usage.step(cx.shared.cache.store, KEY_SLOTS, cx.shared.clock.now()) {
                Some(false) => return Listed::More,
                None => return Listed::NoMemory,
                Some(true) => {}
            }
            let PrefixState::Counting(usage) = std::mem::replace(&mut self.state, PrefixState::Failed) else {
                return Listed::NoMemory;
            };
            let Some(report) = usage.finish(self.count) else { return Listed::NoMemory };
            if room(out, ROW_MAX).is_none() {
                return Listed::NoMemory;
            }
            self.head(&report, out.bytes());
            self.state = PrefixState::Rows(Box::new(report));
        }
        let PrefixState::Rows(report) = &mut self.state else { return Listed::NoMemory };
        let Some(full) = room(out, ROW_MAX) else { return Listed::NoMemory };
        let (bytes, cache) = (out.bytes(), &cx.shared.cache);
        let counted = cache.detail() && self.delimiter == cache.prefixes.delimiter();
        while bytes.len() < full {
            let Some((name, usage)) = report.top.pop() else {
                self.form.end(bytes);
                return Listed::Done;
            };
            let (prefix, amount) = (PercentEncoded(&name), amount(usage));
            match counted.then(|| cache.prefixes.counts(&name).unwrap_or_default()) {
                Some(counts) => {
                    let (hits, misses) = (counts.hits, counts.gets - counts.hits);
                    let row = format_args!("prefix={prefix} {amount} hits={hits} misses={misses}");
                    self.form.row(bytes, &self.next, &row);
                }
                None => self.form.row(bytes, &self.next, &format_args!("prefix={prefix} {amount}")),
            }
            self.next += 1;
        }
        Listed::More
    }
}
