//! `oxctl top`: a live view of a server in the terminal, or a line of JSON an interval.
//!
//! Owns the threads and the terminal. The look thread owns the connection: it reads the server's reports at each
//! interval, and connects again after a failure. The input thread waits for keys. Both send to the main thread, which
//! owns the state and draws; so neither a slow server nor a slow terminal stops the other. Called by `main`.

mod draw;
mod panes;
mod snapshot;
mod state;
mod units;

use crate::connection::ServerAccess;
use crate::failure::Failure;
use crate::printer::Printer;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEvent};
use serde_json::{Value, json};
use snapshot::{Snapshot, SnapshotDelta, SnapshotReader, percent};
use state::{KeyEffect, TopState};
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Longest time between two drawings, so that ages and signals show.
const REDRAW: Duration = Duration::from_millis(250);
/// Shortest time between two attempts to connect.
const RECONNECT: Duration = Duration::from_secs(1);
/// Events that wait for the main thread.
const EVENTS_MAX: usize = 64;

/// What the threads tell the main one.
enum TopEvent {
    Looked(Result<Box<Snapshot>, Failure>),
    Key(KeyEvent),
    Resized,
    /// The terminal gives no more input.
    InputEnded(io::Error),
}

/// # Errors
/// For JSON, those of the server; in the terminal, only those of the terminal.
pub(crate) fn run(
    access: &ServerAccess,
    interval: Duration,
    count: Option<u64>,
    as_json: bool,
    out: &mut Printer,
) -> Result<(), Failure> {
    if as_json {
        return print_lines(access, interval, count, out);
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::Unavailable("top needs a terminal; with --json it prints lines".to_owned()));
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(failed)?;
    }
    // Also sets a panic hook that restores the terminal before it prints.
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let done = start_and_show(&mut terminal, access, interval, &stop);
    ratatui::restore();
    done
}

fn failed(error: io::Error) -> Failure {
    Failure::Unavailable(format!("cannot use the terminal: {error}"))
}

fn start_and_show(
    terminal: &mut DefaultTerminal,
    access: &ServerAccess,
    interval: Duration,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let (events, received) = sync_channel(EVENTS_MAX);
    let (intervals, asked) = channel();
    let (for_looks, copy) = (events.clone(), access.clone());
    let looks = thread::Builder::new().name("look".to_owned());
    let looks = looks.spawn(move || look(&copy, interval, &for_looks, &asked)).map_err(failed)?;
    thread::Builder::new().name("input".to_owned()).spawn(move || read_input(&events)).map_err(failed)?;
    let state = TopState::new(access.address.to_string(), interval);
    show(terminal, state, &received, &intervals, &looks, stop)
}

/// The loop of the main thread, until a key or a signal ends it.
fn show(
    terminal: &mut DefaultTerminal,
    mut state: TopState,
    received: &Receiver<TopEvent>,
    intervals: &Sender<Duration>,
    looks: &JoinHandle<()>,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    while !stop.load(Relaxed) {
        if looks.is_finished() {
            // It panicked, and the hook has restored the terminal.
            return Err(Failure::Unavailable("the thread that reads the server has ended".to_owned()));
        }
        terminal.draw(|frame| draw::draw(frame, &mut state, Instant::now())).map_err(failed)?;
        let mut next = match received.recv_timeout(REDRAW) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        // All that has arrived, before the next drawing.
        while let Some(event) = next {
            match event {
                TopEvent::Looked(looked) => state.take(looked.map(|snapshot| *snapshot)),
                TopEvent::Resized => {}
                TopEvent::InputEnded(error) => return Err(failed(error)),
                TopEvent::Key(key) => match state.press(key, panes::CLASS_COLUMNS.len()) {
                    KeyEffect::None => {}
                    KeyEffect::Quit => return Ok(()),
                    // Without a look thread, the next round ends.
                    KeyEffect::Interval(interval) => _ = intervals.send(interval),
                },
            }
            next = received.try_recv().ok();
        }
    }
    Ok(())
}

/// The loop of the input thread. It ends with the process: a read of the terminal cannot be interrupted.
fn read_input(events: &SyncSender<TopEvent>) {
    loop {
        let event = match event::read() {
            Ok(Event::Key(key)) => TopEvent::Key(key),
            Ok(Event::Resize(..)) => TopEvent::Resized,
            Ok(_) => continue,
            Err(error) => TopEvent::InputEnded(error),
        };
        let is_end = matches!(event, TopEvent::InputEnded(_));
        if events.send(event).is_err() || is_end {
            return;
        }
    }
}

/// The loop of the look thread, until the main thread has left. `asked` gives new intervals.
fn look(
    access: &ServerAccess,
    mut interval: Duration,
    events: &SyncSender<TopEvent>,
    asked: &mpsc::Receiver<Duration>,
) {
    let mut reader = None;
    'look: loop {
        let begin = Instant::now();
        let looked = look_once(access, &mut reader);
        let least = if looked.is_err() { RECONNECT } else { Duration::ZERO };
        if events.send(TopEvent::Looked(looked.map(Box::new))).is_err() {
            return;
        }
        loop {
            match asked.recv_timeout(interval.max(least).saturating_sub(begin.elapsed())) {
                Ok(new) => interval = new,
                Err(RecvTimeoutError::Timeout) => continue 'look,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

/// Reads the server's reports, on a new connection if there is none. A failure ends the connection.
fn look_once(access: &ServerAccess, reader: &mut Option<SnapshotReader>) -> Result<Snapshot, Failure> {
    let mut open = match reader.take() {
        Some(open) => open,
        None => SnapshotReader::open(access)?,
    };
    let snapshot = open.read()?;
    *reader = Some(open);
    Ok(snapshot)
}

/// Prints a line for each interval, `count` lines at most.
fn print_lines(
    access: &ServerAccess,
    interval: Duration,
    count: Option<u64>,
    out: &mut Printer,
) -> Result<(), Failure> {
    let mut reader = Some(SnapshotReader::open(access)?);
    let mut last = look_once(access, &mut reader)?;
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        thread::sleep(interval.saturating_sub(last.at.elapsed()));
        let snapshot = look_once(access, &mut reader)?;
        out.json(&line(&access.address.to_string(), &snapshot, SnapshotDelta::of(&last, &snapshot)))?;
        out.flush()?;
        last = snapshot;
        left -= 1;
    }
    Ok(())
}

/// One line: rates of the interval, `null` across a restart of the server, and what is in the server at its end.
fn line(server: &str, snapshot: &Snapshot, delta: Option<SnapshotDelta<'_>>) -> Value {
    let rate = |names: &[&str]| delta.map(|delta| delta.rate(names));
    let number = |name: &str| snapshot.number(name);
    json!({
        "server": server,
        "time": number("time"),
        "uptime": number("uptime"),
        "gets_per_second": rate(&["cmd_get"]),
        "sets_per_second": rate(&["cmd_set"]),
        "deletes_per_second": rate(&["delete_hits", "delete_misses"]),
        "hit_percent": delta.and_then(|delta| delta.hit_percent()),
        "hit_percent_total": percent(number("get_hits"), number("get_misses")),
        "evictions_per_second": rate(&["evictions"]),
        "bytes_read_per_second": rate(&["bytes_read"]),
        "bytes_written_per_second": rate(&["bytes_written"]),
        "connections_per_second": rate(&["total_connections"]),
        "connections": number("curr_connections"),
        "items": number("curr_items"),
        "bytes": number("bytes"),
        "limit_bytes": number("limit_maxbytes"),
    })
}
