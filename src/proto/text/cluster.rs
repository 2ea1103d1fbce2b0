//! `config`: the nodes of a cluster, for clients that discover them.
//!
//! Owns the command's grammar and the form of its replies. memcached has no such command; ElastiCache's servers do, and
//! their clients' parsers fix every byte here. Called by the dispatcher while `-o cluster_file` is on, and by `get` for
//! a miss of a key as long as [`KEY`].

use crate::cluster::{Cluster, KEY, NAME};
use crate::decimal;
use crate::proto::command_result::{AfterCommand, CommandResult};
use crate::proto::line::{BAD_FORMAT, BadLine, Run, value_len};
use crate::proto::tokens::Tokens;
use crate::proto::{Output, Shared};

/// `config get cluster`. The other forms of the command would change the configuration, which is the file's.
pub(super) fn config(run: &mut Run<'_, '_>, cluster: &Cluster, tokens: &Tokens<'_>) -> CommandResult {
    const READ_ONLY: &str = "CLIENT_ERROR the configuration comes from cluster_file";
    let words = tokens.len() - usize::from(run.noreply);
    match tokens.get(1) {
        b"get" if words == 3 && tokens.get(2) == NAME => get(run, cluster),
        b"get" if words == 3 => run.reply("END"),
        b"set"
            if words == 5
                && let Some(vlen) = value_len(tokens.get(4)) =>
        {
            run.reply(READ_ONLY);
            let unwanted = BadLine::before_value(READ_ONLY, vlen).unwanted;
            return CommandResult { unwanted: unwanted as u64, ..CommandResult::then(AfterCommand::Swallow) };
        }
        b"set" | b"get" => run.reply(BAD_FORMAT),
        _ if words > 1 => run.reply(READ_ONLY),
        _ => run.reply(BAD_FORMAT),
    }
    CommandResult::done()
}

fn get(run: &mut Run<'_, '_>, cluster: &Cluster) {
    let config = cluster.current();
    if run.cx.verbose() > 1 {
        run.log(format_args!(">{} sending config cluster\n", run.cx.fd));
    }
    if run.noreply {
        return;
    }
    let out = run.out.bytes();
    out.extend_from_slice(b"CONFIG ");
    out.extend_from_slice(NAME);
    out.extend_from_slice(b" 0 ");
    decimal::put(out, config.text().len() as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(config.text());
    out.extend_from_slice(b"\r\nEND\r\n");
}

/// Appends the `VALUE` block of `key` if it is [`KEY`] and there is a configuration; its CAS id is the version. Clients
/// older than `config get` ask so.
#[cold]
pub(super) fn value(shared: &Shared, key: &[u8], cas: bool, out: &mut Output) {
    let Some(cluster) = shared.cluster.as_ref().filter(|_| key == KEY) else { return };
    let config = cluster.current();
    let out = out.bytes();
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(key);
    out.extend_from_slice(b" 0 ");
    decimal::put(out, config.text().len() as u64);
    if cas {
        out.push(b' ');
        decimal::put(out, config.version().into());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(config.text());
    out.extend_from_slice(b"\r\n");
}
