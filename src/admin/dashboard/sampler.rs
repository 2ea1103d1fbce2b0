//! Samples of the server, one a second: rates, gauges, slab classes, connections, problems.
//!
//! Owns the previous figures, the history, and how counters become rates: a counter that is lower than before was
//! reset, and counts from 0. Knows no frames and no viewers. `feed` calls [`Sampler::take`] once a second.

use super::figures::{ClassFigures, GAUGES, LiveFigures, RATES};
use super::history::{HistoryRow, SampleHistory};
use super::problems::{self, Problem, Recent, TROUBLES, WINDOW};
use super::turns::{TURN_COLUMNS, columns_of, turn_columns};
use crate::conns::{ConnInfo, ConnTable};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Columns of a sample: rates, gauges, times of turns.
pub(super) const COLUMNS: usize = RATES.len() + GAUGES.len() + TURN_COLUMNS;

/// Names of the columns, in order.
pub(super) fn columns() -> impl Iterator<Item = String> {
    RATES.iter().chain(GAUGES).map(|(name, _)| (*name).to_owned()).chain(turn_columns())
}

/// One slab class in a sample; counts are for each second.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct ClassSample {
    pub id: usize,
    pub chunk_size: u64,
    pub pages: u64,
    pub items: u64,
    pub item_bytes: u64,
    pub max_size_bytes: u64,
    pub fitted_bytes: u64,
    pub age: u32,
    pub hits: f32,
    pub sets: f32,
    pub evicted: f32,
    /// Evicted keys that were stored again so soon that more memory would have kept them.
    pub returned: f32,
}

/// What a viewer is shown of one second.
pub(super) struct LiveSample {
    pub row: HistoryRow<COLUMNS>,
    pub uptime: u32,
    pub classes: Vec<ClassSample>,
    pub problems: Vec<Problem>,
}

/// Counts of one second that are added up over [`WINDOW`].
struct SecondCounts {
    troubles: [u64; TROUBLES.len()],
    evicted: u64,
    evicted_unfetched: u64,
    frames_dropped: u64,
}

/// Takes the samples.
pub(super) struct Sampler {
    last: Option<LiveFigures>,
    frames_dropped: u64,
    recent: VecDeque<SecondCounts>,
    history: SampleHistory<COLUMNS>,
    newest: Option<Arc<LiveSample>>,
}

impl Sampler {
    /// A sampler that has seen nothing.
    pub fn new() -> Self {
        let recent = VecDeque::with_capacity(WINDOW);
        Self { last: None, frames_dropped: 0, recent, history: SampleHistory::new(), newest: None }
    }

    /// The newest sample.
    pub fn newest(&self) -> Option<Arc<LiveSample>> {
        self.newest.clone()
    }

    /// All samples.
    pub fn history(&self) -> &SampleHistory<COLUMNS> {
        &self.history
    }

    /// Makes a sample of figures. `frames_dropped` counts all frames that viewers have lost. The first figures are only
    /// kept.
    pub fn take(&mut self, now: LiveFigures, frames_dropped: u64) {
        let Some(before) = self.last.take() else {
            self.frames_dropped = frames_dropped;
            self.last = Some(now);
            return;
        };
        let elapsed = now.at.saturating_duration_since(before.at).max(Duration::from_millis(1)).as_secs_f64();
        let mut values = [0.0; COLUMNS];
        let (rates, rest) = values.split_at_mut(RATES.len());
        let (gauges, turns) = rest.split_at_mut(GAUGES.len());
        for (at, value) in rates.iter_mut().enumerate() {
            *value = rate(now.rates[at], before.rates[at], elapsed);
        }
        for (value, gauge) in gauges.iter_mut().zip(now.gauges) {
            *value = gauge as f32;
        }
        turns.copy_from_slice(&columns_of(&now.turns.since(&before.turns)));
        let lost = since(frames_dropped, std::mem::replace(&mut self.frames_dropped, frames_dropped));
        let recent = self.add_up(&now, &before, lost);
        let row = HistoryRow { time: unix_millis(), values };
        self.history.push(row);
        let class = |class: &ClassFigures| {
            let before = before.classes.iter().find(|before| before.id == class.id);
            class_sample(class, before, elapsed)
        };
        let classes = now.classes.iter().map(class).collect();
        let problems = problems::find(&now, &recent);
        self.newest = Some(Arc::new(LiveSample { row, uptime: now.uptime, classes, problems }));
        self.last = Some(now);
    }

    /// Adds the counts of the last second; returns the sums over the window.
    fn add_up(&mut self, now: &LiveFigures, before: &LiveFigures, frames_dropped: u64) -> Recent {
        let grown = |name: &str| {
            let at = RATES.iter().position(|(known, _)| *known == name);
            at.map_or(0, |at| since(now.rates[at], before.rates[at]))
        };
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(SecondCounts {
            troubles: std::array::from_fn(|at| since(now.troubles[at], before.troubles[at])),
            evicted: grown("evicted"),
            evicted_unfetched: grown("evicted_unfetched"),
            frames_dropped,
        });
        let sum = |of: &dyn Fn(&SecondCounts) -> u64| self.recent.iter().map(of).fold(0, u64::saturating_add);
        Recent {
            troubles: std::array::from_fn(|at| sum(&|second| second.troubles[at])),
            evicted: sum(&|second| second.evicted),
            evicted_unfetched: sum(&|second| second.evicted_unfetched),
            frames_dropped: sum(&|second| second.frames_dropped),
        }
    }
}

fn class_sample(now: &ClassFigures, before: Option<&ClassFigures>, elapsed: f64) -> ClassSample {
    let rate = |of: fn(&ClassFigures) -> u64| rate(of(now), before.map_or(0, of), elapsed);
    ClassSample {
        id: now.id,
        chunk_size: now.chunk_size,
        pages: now.view.pages,
        items: now.view.items,
        item_bytes: now.view.requested,
        max_size_bytes: now.view.max_size_bytes,
        fitted_bytes: now.view.fitted_bytes,
        age: now.view.age_cold,
        hits: rate(|class| class.hits),
        sets: rate(|class| class.sets),
        evicted: rate(|class| class.view.counts.evicted),
        returned: rate(|class| class.view.ghost_hits),
    }
}

/// Growth of a counter. One that is lower than before was reset, and has counted from 0 since.
fn since(now: u64, before: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

/// Growth a second, to a hundredth.
fn rate(now: u64, before: u64, elapsed: f64) -> f32 {
    ((since(now, before) as f64 / elapsed * 100.0).round() / 100.0) as f32
}

fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Connections and listeners visited under one hold of the table's lock.
const BATCH: usize = 256;

/// Number of connections in each state that has some, by memcached's name. Visits all connections, some 10 ns each.
pub(super) fn connection_states(conns: &ConnTable) -> Vec<(&'static str, u64)> {
    let mut counts: Vec<(&'static str, u64)> = Vec::new();
    let mut count = |info: &ConnInfo| {
        let name = info.state().name();
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    };
    let mut after = -1;
    while let Some(last) = conns.visit_after(after, BATCH, &mut count) {
        after = last;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::proto::Shared;
    use crate::settings::{Action, parse};
    use crate::stats::{ClassCounter, Counter};
    use std::sync::atomic::Ordering::Relaxed;

    fn shared(args: &[&str]) -> Shared {
        let words = ["oxcached", "-k"].iter().chain(args).map(|word| (*word).into());
        let Action::Run(settings) = parse(words).unwrap() else { panic!("settings") };
        Shared::new(*settings, Clock::manual(1_000_000_000), Box::new(|_| ())).unwrap()
    }

    /// Ticks with exactly a second between two readings.
    struct Ticks(Sampler, std::time::Instant, u32);

    impl Ticks {
        fn new() -> Self {
            Self(Sampler::new(), std::time::Instant::now(), 0)
        }

        fn tick(&mut self, shared: &Shared, dropped: u64) {
            let mut figures = LiveFigures::of(&shared.collector());
            figures.at = self.1 + Duration::from_secs(self.2.into());
            self.2 += 1;
            self.0.take(figures, dropped);
        }

        fn value(&self, name: &str) -> f32 {
            self.0.newest().unwrap().row.values[columns().position(|known| known == name).unwrap()]
        }

        fn problems(&self) -> Vec<String> {
            self.0.newest().unwrap().problems.iter().map(|problem| problem.text.clone()).collect()
        }
    }

    #[test]
    fn rates_are_growth_and_never_negative() {
        let (shared, mut ticks) = (shared(&[]), Ticks::new());
        let worker = &shared.stats.workers[0];
        worker.add(Counter::GetMisses, 1000);
        ticks.tick(&shared, 0);
        assert!(ticks.0.newest().is_none() && ticks.0.history().thinned(1).is_empty());
        worker.add(Counter::GetMisses, 30);
        worker.add_class(3, ClassCounter::HitsCold);
        ticks.tick(&shared, 0);
        assert_eq!((ticks.value("get_misses"), ticks.value("get_hits")), (30.0, 1.0));
        shared.reset_stats();
        worker.add(Counter::GetMisses, 7);
        ticks.tick(&shared, 0);
        assert_eq!((ticks.value("get_misses"), ticks.value("get_hits")), (7.0, 0.0));
        assert!(ticks.0.newest().unwrap().row.values.iter().all(|value| value.is_nan() || *value >= 0.0));
    }

    #[test]
    fn a_late_tick_divides_by_its_time() {
        let (shared, mut ticks) = (shared(&[]), Ticks::new());
        ticks.tick(&shared, 0);
        shared.stats.workers[0].add(Counter::BytesRead, 600);
        ticks.2 += 3;
        ticks.tick(&shared, 0);
        assert_eq!(ticks.value("bytes_read"), 150.0);
    }

    #[test]
    fn troubles_are_told_for_a_minute() {
        let (shared, mut ticks) = (shared(&["-c", "10"]), Ticks::new());
        shared.stats.globals.accepting_conns.store(true, Relaxed);
        ticks.tick(&shared, 5);
        ticks.tick(&shared, 5);
        assert_eq!(ticks.problems(), [""; 0]);
        shared.stats.workers[0].add(Counter::StoreNoMemory, 2);
        shared.stats.globals.accepting_conns.store(false, Relaxed);
        shared.stats.globals.curr_conns.store(10, Relaxed);
        ticks.tick(&shared, 6);
        let found = ticks.problems();
        assert!(found[0].starts_with("Accepting is paused"), "{found:?}");
        assert!(found[1].starts_with("2 stores refused for lack of memory in the last minute"), "{found:?}");
        assert_eq!(found[2], "9 of 10 connections (-c) are open.");
        assert!(found[3].starts_with("1 frames were lost"), "{found:?}");
        shared.stats.globals.accepting_conns.store(true, Relaxed);
        shared.stats.globals.curr_conns.store(1, Relaxed);
        for _ in 1..WINDOW {
            ticks.tick(&shared, 6);
        }
        assert_eq!(ticks.problems().len(), 2, "{:?}", ticks.problems());
        ticks.tick(&shared, 6);
        assert_eq!(ticks.problems(), [""; 0]);
    }

    #[test]
    fn connections_are_counted_by_state() {
        use crate::conns::ConnState;
        let conns = ConnTable::default();
        for fd in 0..1000 {
            let state = if fd % 4 == 0 { ConnState::Read } else { ConnState::Waiting };
            conns.insert(fd, ConnInfo::new(None, None, state, 0).into());
        }
        assert_eq!(connection_states(&conns), [("conn_read", 250), ("conn_waiting", 750)]);
    }
}
