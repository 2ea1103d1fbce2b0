//! `hotkeys on`, `off` and `reset`.
//!
//! Owns the grammar. memcached has no such command. Called by the admin commands.

use crate::proto::line::Run;
use crate::proto::tokens::Tokens;

pub(super) fn run(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) {
    let shared = run.cx.shared;
    let is_on = shared.cache.hotkeys.is_on();
    let words = tokens.len() - usize::from(run.noreply);
    let begun = match tokens.get(1) {
        _ if words != 2 => return run.reply("CLIENT_ERROR usage: hotkeys on|off|reset"),
        b"on" if is_on => Ok(()),
        b"on" => shared.begin_hotkeys(),
        b"reset" if is_on => shared.begin_hotkeys(),
        b"reset" => return run.reply("CLIENT_ERROR hot keys are off"),
        b"off" => {
            shared.end_hotkeys();
            Ok(())
        }
        _ => return run.reply("CLIENT_ERROR usage: hotkeys on|off|reset"),
    };
    run.reply(if begun.is_ok() { "OK" } else { "SERVER_ERROR out of memory" });
}
