//! `latency`; `stats latency`, `stats slow`, `stats large`.
//!
//! Owns their grammar; memcached has none of these. The rows are those of every protocol (`latency_report`). Called by
//! `admin`.

use super::admin::TextRows;
use crate::proto::command_result::AfterCommand;
use crate::proto::latency_report::{self, LatencyReport, NoReport};
use crate::proto::line::{BAD_FORMAT, Run};
use crate::proto::tokens::Tokens;
use crate::settings::{LatencyMode, large_threshold, slow_threshold};

/// `latency off|turn|full`, `latency slow <microseconds>|off`, `latency large <bytes>|off`.
pub(super) fn run(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) {
    let shared = run.cx.shared;
    let (word, value) = (tokens.get(1), tokens.get(2));
    if let Some(mode) = LatencyMode::named(word) {
        if mode != LatencyMode::Off && shared.stats.latency.open().is_err() {
            return run.reply("SERVER_ERROR out of memory");
        }
        shared.runtime.set_latency_mode(mode);
        return run.reply("OK");
    }
    match word {
        b"slow" => match slow_threshold(value) {
            Some(micros) => shared.runtime.set_slow_threshold(micros),
            None => return run.reply(BAD_FORMAT),
        },
        b"large" => match large_threshold(value) {
            Some(bytes) => shared.runtime.set_large_threshold(bytes),
            None => return run.reply(BAD_FORMAT),
        },
        _ => return run.reply("CLIENT_ERROR usage: latency off|turn|full, latency slow|large <threshold>|off"),
    }
    run.reply("OK");
}

/// `stats latency`, `stats slow` and `stats large`.
pub(super) fn stats(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) -> AfterCommand {
    match latency_report::begin(run.cx, tokens.get(1), tokens.get(2), TextRows, run.out) {
        Ok(LatencyReport::Done) => {}
        Ok(LatencyReport::Reset) => run.reply("RESET"),
        Ok(LatencyReport::Listing(listing)) => return AfterCommand::Report(listing),
        Err(NoReport::NotAllowed) => run.reply("CLIENT_ERROR stats of keys not allowed"),
        Err(NoReport::Unknown) => run.reply("CLIENT_ERROR unknown argument"),
    }
    AfterCommand::Next
}
