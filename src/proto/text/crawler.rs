//! `lru_crawler`: crawls, dumps and settings.
//!
//! Owns the command's grammar and memcached's texts. Requests crawls through `maint`'s handle; a dump is a state of
//! the session (`dump`). Called by the admin commands.

use super::admin::number;
use super::dump::{Ask, DumpKind, Of};
use crate::decimal;
use crate::limits::CLASSES;
use crate::maint::all_classes;
use crate::proto::command_result::AfterCommand;
use crate::proto::line::{BAD_FORMAT, Run};
use crate::proto::tokens::Tokens;

/// Length to which memcached truncates a class list.
const LIST_MAX: usize = 511;

/// Classes in a list; `None` if the list is invalid.
pub(super) fn classes(list: &[u8]) -> Option<Of> {
    let list = &list[..list.len().min(LIST_MAX)];
    match list {
        b"all" => return Some(Of::Classes(all_classes())),
        b"hash" => return Some(Of::Hashes),
        _ => {}
    }
    let end = memchr::memchr(0, list).unwrap_or(list.len());
    let ids = list[..end].split(|&byte| byte == b',').filter(|id| !id.is_empty());
    let bits = ids.map(|id| {
        let id = decimal::c_unsigned(id)? as u32;
        (1..CLASSES as u32).contains(&id).then(|| 1u64 << id)
    });
    bits.sum::<CrawlSummary>().0.map(Of::Classes)
}

/// Set of classes, one bit each, from the words of a line; `None` if any word names no class.
struct CrawlSummary(Option<u64>);

impl std::iter::Sum<Option<u64>> for CrawlSummary {
    fn sum<I: Iterator<Item = Option<u64>>>(mut bits: I) -> Self {
        Self(bits.try_fold(0, |all, one| Some(all | one?)))
    }
}

/// Runs the command.
pub(super) fn run(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) -> AfterCommand {
    match tokens.len() {
        2 if tokens.is(1, "enable") => enable(run),
        2 if tokens.is(1, "disable") => {
            run.cx.shared.runtime.set_lru_crawler(false);
            run.reply("OK");
        }
        3 if tokens.is(1, "crawl") => crawl(run, tokens.get(2)),
        3 if tokens.is(1, "metadump") => return dump(run, DumpKind::Meta, tokens.get(2)),
        3 if tokens.is(1, "mgdump") => return dump(run, DumpKind::Keys, tokens.get(2)),
        3 if tokens.is(1, "tocrawl") => match number(tokens, 2) {
            Some(items) => {
                run.cx.shared.runtime.set_lru_crawler_tocrawl(items);
                run.reply("OK");
            }
            None => run.reply(BAD_FORMAT),
        },
        3 if tokens.is(1, "sleep") => match number(tokens, 2) {
            Some(micros) if micros <= 1_000_000 => {
                run.cx.shared.runtime.set_lru_crawler_sleep(micros);
                run.reply("OK");
            }
            Some(_) => run.reply("CLIENT_ERROR sleep must be one second or less"),
            None => run.reply(BAD_FORMAT),
        },
        _ => run.reply("ERROR"),
    }
    AfterCommand::Next
}

fn enable(run: &mut Run<'_, '_>) {
    let runtime = &run.cx.shared.runtime;
    if runtime.lru_crawler() {
        run.reply("ERROR failed to start lru crawler thread");
    } else {
        runtime.set_lru_crawler(true);
        run.reply("OK");
    }
}

fn crawl(run: &mut Run<'_, '_>, list: &[u8]) {
    let shared = run.cx.shared;
    let text = if !shared.runtime.lru_crawler() {
        "CLIENT_ERROR lru crawler disabled"
    } else {
        match classes(list) {
            None => "BADCLASS invalid class id",
            Some(Of::Hashes) => "ERROR an unknown error happened",
            Some(Of::Classes(0)) => "NOTSTARTED no items to crawl",
            Some(Of::Classes(bits)) => {
                if shared.crawler.crawl(bits, shared.runtime.lru_crawler_tocrawl()) {
                    "OK"
                } else {
                    "BUSY currently processing crawler request"
                }
            }
        }
    };
    run.reply(text);
}

/// Requests a dump. The session decides whether it may begin, since only the session knows of earlier replies.
fn dump(run: &mut Run<'_, '_>, kind: DumpKind, list: &[u8]) -> AfterCommand {
    let shared = run.cx.shared;
    if !shared.runtime.lru_crawler() {
        run.reply("CLIENT_ERROR lru crawler disabled");
    } else if !shared.settings.dump_enabled {
        run.reply(kind.not_allowed());
    } else {
        return AfterCommand::Dump(Ask { kind, of: classes(list), noreply: run.noreply });
    }
    AfterCommand::Next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_lists_parse_as_in_memcached() {
        let bits = |list: &[u8]| match classes(list) {
            Some(Of::Classes(bits)) => Some(bits),
            Some(Of::Hashes) => panic!("hash"),
            None => None,
        };
        assert_eq!(bits(b"1,2"), Some(6));
        assert_eq!(bits(b"1,,+2,"), Some(6));
        assert_eq!(bits(b"63"), Some(1 << 63));
        assert_eq!(bits(b"4294967297"), Some(2), "cut to 32 bits");
        assert_eq!(bits(b","), Some(0));
        assert_eq!(bits(b"all"), Some(u64::MAX - 1));
        for bad in [&b"0"[..], b"64", b"foo", b"1,foo", b"-1", b"1x", b"1,all", b"allx", b"noreply"] {
            assert_eq!(bits(bad), None, "{}", String::from_utf8_lossy(bad));
        }
        let long = b"1,".repeat(300);
        assert_eq!(bits(&long), Some(2));
        assert!(matches!(classes(b"hash"), Some(Of::Hashes)));
    }
}
