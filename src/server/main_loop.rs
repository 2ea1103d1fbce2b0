//! The main thread's loop: listening sockets, signals, requests from sessions, the clock's tick.
//!
//! Owns the order of work after a poll. Must not touch a client's bytes. [`Server::run`] calls it until a stop is
//! requested.

use super::{SIGNALS, Server, Stop, WAKE, Watchdog, serving, unix_now};
use crate::admin::{AdminToken, Phase};
use crate::auth::Auth;
use crate::cluster::ClusterWatch;
use crate::proto::Shared;
use crate::sys::reserve::ALLOCATOR;
use crate::sys::signal::{Signal, Signals};
use crate::sys::{panics, say};
use mio::{Events, Interest};
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Maximum events of one poll; further ones wait for the next poll.
pub(super) const EVENTS: usize = 128;

pub(super) const TICK: Duration = Duration::from_secs(1);

impl Server {
    /// Serves until a stop is requested.
    pub(super) fn serve(&mut self, mut signals: Option<&mut Signals>) -> io::Result<Stop> {
        ALLOCATOR.refill();
        if let Some(signals) = &mut signals {
            self.poll.registry().register(signals.source(), SIGNALS, Interest::READABLE)?;
        }
        let mut events = Events::with_capacity(EVENTS);
        self.begin(Phase::Serving);
        loop {
            if let Some(stop) = self.turn(&mut events, signals.as_deref_mut(), TICK)? {
                return Ok(stop);
            }
        }
    }

    /// Polls once, for `longest` at most, and does what is due. Returns a requested stop.
    pub(super) fn turn(
        &mut self,
        events: &mut Events,
        mut signals: Option<&mut Signals>,
        longest: Duration,
    ) -> io::Result<Option<Stop>> {
        let until_tick = self.next_tick.saturating_duration_since(Instant::now());
        let others = [self.acceptor.timeout(), self.watchdog.as_ref().map(Watchdog::timeout), Some(longest)];
        let timeout = others.into_iter().flatten().fold(until_tick, Duration::min);
        match self.poll.poll(events, Some(timeout)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(None),
            other => other?,
        }
        let mut signalled = None;
        for event in events.iter() {
            match event.token() {
                WAKE => {}
                SIGNALS => signalled = signals.as_deref_mut(),
                listener => self.acceptor.ready(listener, self.poll.registry()),
            }
        }
        self.acceptor.on_timer(self.poll.registry());
        if let Some(stop) = self.asked(signalled) {
            return Ok(Some(stop));
        }
        self.tick();
        if let (Some(watchdog), Some(manager)) = (&mut self.watchdog, &mut self.manager) {
            watchdog.ping(manager, &self.workers);
        }
        Ok(None)
    }

    /// Stop requested by signals or sessions. Signals are read only if their event came.
    fn asked(&mut self, signals: Option<&mut Signals>) -> Option<Stop> {
        let mut stop = None;
        for signal in signals.map(Signals::take).unwrap_or_default() {
            match signal {
                Signal::Exit => stop = Some(Stop::Exit),
                Signal::Graceful => stop = stop.or(Some(Stop::Graceful)),
                Signal::Reload => self.reload(),
            }
        }
        if self.requests.exit.swap(false, Relaxed) {
            stop = Some(Stop::Exit);
        } else if self.requests.graceful.swap(false, Relaxed) {
            stop = stop.or(Some(Stop::Graceful));
        }
        stop
    }

    /// Reloads users, certificates, the admin token and the nodes of the cluster.
    fn reload(&mut self) {
        if let Some(manager) = &mut self.manager {
            manager.reloading("Reloading files");
        }
        if let Some(admin) = &self.admin {
            match AdminToken::load(&self.shared.settings) {
                Ok(token) => admin.set_token(token),
                Err(complaint) => say(format_args!("Could not reload on SIGHUP: {complaint}")),
            }
        }
        for complaint in self.shared.auth.iter().flat_map(Auth::reload) {
            say(format_args!("Could not reload on SIGHUP: {complaint}"));
        }
        if let Some(tls) = &self.shared.tls
            && let Err(complaint) = tls.refresh(self.shared.clock.now())
        {
            say(format_args!("Could not reload TLS certificates on SIGHUP: {complaint}"));
        }
        if let Some(watch) = &mut self.cluster {
            say_cluster(watch.reload(), watch, &self.shared);
        }
        if let Some(manager) = &mut self.manager {
            manager.ready(&serving(&self.shared));
        }
    }

    /// Advances the clock once a second, and wakes idle background threads that have work. Ticks are scheduled from the
    /// start time, so they do not drift.
    fn tick(&mut self) {
        let now = Instant::now();
        if now < self.next_tick {
            return;
        }
        panics::trap("main");
        self.shared.tick();
        if let Some(manager) = &mut self.manager {
            manager.retry();
        }
        if let Some(admin) = &self.admin {
            admin.health().tick();
        }
        self.shared.cache.store.note_time(self.shared.clock.now(), unix_now());
        ALLOCATOR.refill();
        if let Some(watch) = &mut self.cluster {
            say_cluster(watch.look(), watch, &self.shared);
        }
        let (second, news) = (self.shared.clock.now(), self.shared.news());
        self.chores.tick(second, news);
        if let Some(mover) = &self.mover {
            mover.tick(second, news);
        }
        let behind = now.duration_since(self.next_tick).as_secs();
        self.next_tick += TICK + Duration::from_secs(behind);
    }
}

/// Prints what came of a look at the file of `-o cluster_file`: a complaint, and with `-v` another configuration.
fn say_cluster(result: Result<bool, String>, watch: &ClusterWatch, shared: &Shared) {
    match result {
        Ok(true) if shared.runtime.verbose() > 0 => {
            let current = watch.cluster().current();
            say(format_args!("cluster: version {} with {} nodes", current.version(), current.nodes()));
        }
        Ok(_) => {}
        Err(complaint) => say(format_args!("{complaint}; the nodes stay as they were")),
    }
}
