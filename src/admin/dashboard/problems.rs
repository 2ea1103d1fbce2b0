//! What is wrong with the server, in words.
//!
//! Owns which conditions count as problems, their severity and their sentences. Knows neither history nor format.
//! Called by `sampler` once a second.

use super::figures::{FigureSource, LiveFigures, load};
use crate::stats::Counter;

/// Seconds over which counts of trouble are added up.
pub(super) const WINDOW: usize = 60;

/// How much a problem matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Severity {
    /// Requests, connections or data are lost.
    Bad,
    /// Worth a look.
    Warning,
    /// A state to know of.
    Note,
}

impl Severity {
    /// The word of a frame.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One problem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Problem {
    pub severity: Severity,
    pub text: String,
}

impl Problem {
    fn new(severity: Severity, text: impl Into<String>) -> Self {
        Self { severity, text: text.into() }
    }
}

/// A counter that stands still in a healthy server.
pub(super) struct Trouble {
    severity: Severity,
    /// What was counted, after its number.
    what: &'static str,
    /// The cause, and what helps.
    advice: &'static str,
    pub count: fn(&FigureSource<'_>) -> u64,
}

const fn trouble(
    severity: Severity,
    what: &'static str,
    advice: &'static str,
    count: fn(&FigureSource<'_>) -> u64,
) -> Trouble {
    Trouble { severity, what, advice, count }
}

/// All of them, worst first.
pub(super) const TROUBLES: &[Trouble] = &[
    trouble(
        Severity::Bad,
        "stores refused for lack of memory",
        "no item may be evicted (-M), or all are in use",
        |from| from.get(Counter::StoreNoMemory),
    ),
    trouble(Severity::Bad, "commits of the durable copy failed", "see the log: the disk is full, or broken", |from| {
        from.collector.durable.map_or(0, |durable| durable.view().figures.errors)
    }),
    trouble(Severity::Bad, "changes refused because they could not be made durable", "see stats store", |from| {
        from.collector.durable.map_or(0, |durable| durable.view().figures.refused)
    }),
    trouble(Severity::Bad, "allocations refused by the system", "the machine is short of memory", |from| {
        load(&from.globals().malloc_fails)
    }),
    trouble(
        Severity::Bad,
        "requests refused for lack of buffers",
        "raise -o read_buf_mem_limit, or use fewer connections",
        |from| from.get(Counter::ReadBufOom),
    ),
    trouble(
        Severity::Bad,
        "replies refused for lack of buffers",
        "raise -o read_buf_mem_limit, or use fewer connections",
        |from| from.get(Counter::ResponseOom),
    ),
    trouble(Severity::Bad, "clients refused by the connection limit", "raise -c", |from| {
        load(&from.globals().rejected_conns)
    }),
    trouble(Severity::Bad, "pauses in accepting connections", "raise the limit of open files, or -c", |from| {
        load(&from.globals().listen_disabled_num)
    }),
    trouble(
        Severity::Warning,
        "clients refused by the limit of their address",
        "raise -o maxconns_per_ip, or find the client that leaks connections",
        |from| load(&from.globals().rejected_conns_per_ip),
    ),
    trouble(Severity::Warning, "items refused as too large", "raise -I", |from| from.get(Counter::StoreTooLarge)),
    trouble(Severity::Warning, "failed logins", "a client has the wrong password or token", |from| {
        from.get(Counter::AuthErrors)
    }),
    trouble(Severity::Warning, "connections closed before they logged in", "see -o auth_timeout", |from| {
        from.get(Counter::AuthTimeouts)
    }),
    trouble(Severity::Warning, "connections closed because their peer read no reply", "see -o write_timeout", |from| {
        from.get(Counter::WriteTimeouts)
    }),
    trouble(Severity::Warning, "failed TLS handshakes", "see the connevents of watch", |from| {
        from.collector.tls.map_or(0, |tls| load(&tls.counters().handshake_errors))
    }),
    trouble(
        Severity::Note,
        "events lost before they reached a watcher",
        "the workers' rings were full: raise -o worker_logbuf_size, or watch fewer classes",
        |from| load(&from.globals().log_worker_dropped),
    ),
    trouble(
        Severity::Note,
        "lines skipped by watchers",
        "a watcher reads too slowly: raise -o watcher_logbuf_size, or watch fewer classes",
        |from| load(&from.globals().log_watcher_skipped),
    ),
];

/// Share of `-c`, in hundredths, from which connections are a problem.
const CONNECTIONS_HIGH: u64 = 90;

/// Evictions within [`WINDOW`] from which their kind is judged.
const EVICTIONS_MIN: u64 = 60;

/// Share of evicted items that no client had fetched, in hundredths, that is a problem.
const UNFETCHED_HIGH: u64 = 50;

/// What happened within the last [`WINDOW`] seconds.
pub(super) struct Recent {
    pub troubles: [u64; TROUBLES.len()],
    pub evicted: u64,
    pub evicted_unfetched: u64,
    /// Frames that slow viewers of the dashboard lost.
    pub frames_dropped: u64,
}

/// All problems, worst first.
pub(super) fn find(now: &LiveFigures, recent: &Recent) -> Vec<Problem> {
    let mut found = states(now, recent);
    for (trouble, count) in TROUBLES.iter().zip(recent.troubles).filter(|(_, count)| *count > 0) {
        let text = format!("{count} {} in the last minute: {}.", trouble.what, trouble.advice);
        found.push(Problem::new(trouble.severity, text));
    }
    found.sort_by_key(|problem| problem.severity as u8);
    found
}

/// Problems that are states, not counts.
fn states(now: &LiveFigures, recent: &Recent) -> Vec<Problem> {
    let mut found = Vec::new();
    if !now.accepting {
        found.push(Problem::new(
            Severity::Bad,
            "Accepting is paused: new clients wait until a connection closes or a descriptor is free.",
        ));
    }
    if now.thread_panics > 0 {
        let text = format!("A thread panicked, {} times since the start: see standard error.", now.thread_panics);
        found.push(Problem::new(Severity::Bad, text));
    }
    let connections = now.gauge("connections");
    if connections * 100 >= now.max_connections * CONNECTIONS_HIGH {
        let text = format!("{connections} of {} connections (-c) are open.", now.max_connections);
        found.push(Problem::new(Severity::Warning, text));
    }
    if !now.evicts && now.gauge("page_bytes") >= now.gauge("limit_bytes") {
        let text = "All memory is in use, and items are not evicted (-M): stores will be refused.";
        found.push(Problem::new(Severity::Warning, text));
    }
    if recent.evicted >= EVICTIONS_MIN && recent.evicted_unfetched * 100 >= recent.evicted * UNFETCHED_HIGH {
        let share = recent.evicted_unfetched * 100 / recent.evicted;
        let text = format!(
            "{share} % of the {} items evicted in the last minute were never fetched: \
             memory is short (-m), or clients store what they do not read.",
            recent.evicted
        );
        found.push(Problem::new(Severity::Warning, text));
    }
    if now.log_lines_dropped > 0 {
        let text = format!("{} lines for standard error were lost: its reader is slow.", now.log_lines_dropped);
        found.push(Problem::new(Severity::Warning, text));
    }
    if recent.frames_dropped > 0 {
        let text = format!("{} frames were lost by viewers that read too slowly.", recent.frames_dropped);
        found.push(Problem::new(Severity::Note, text));
    }
    if now.growing {
        found.push(Problem::new(Severity::Note, "The index is growing."));
    }
    found
}
