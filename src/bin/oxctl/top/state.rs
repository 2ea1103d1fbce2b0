//! What `top` shows and how keys change it, apart from any terminal.
//!
//! Owns the history, the panes and the keys. Must not draw or ask. Used by `mod` and `draw`.

use super::snapshot::{Snapshot, SnapshotDelta};
use crate::failure::Failure;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Points of a sparkline that are kept, one for each look.
const HISTORY_MAX: usize = 512;

/// Intervals that `+` and `-` select from.
const INTERVALS: [Duration; 9] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// What the lower part of the screen shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pane {
    Commands,
    Classes,
    /// A report of `snapshot::SPECIAL`, by its place.
    Special(usize),
}

impl Pane {
    pub(crate) const ALL: [(Self, &'static str); 5] = [
        (Self::Commands, "Commands"),
        (Self::Classes, "Classes"),
        (Self::Special(0), "Latency"),
        (Self::Special(1), "Hot keys"),
        (Self::Special(2), "Slow log"),
    ];

    pub(crate) fn place(self) -> usize {
        Self::ALL.iter().position(|(pane, _)| *pane == self).unwrap_or(0)
    }

    /// The pane `step` places further, from the last to the first.
    fn moved(self, step: usize) -> Self {
        Self::ALL[(self.place() + step) % Self::ALL.len()].0
    }
}

/// One series of a sparkline, oldest first.
#[derive(Default)]
pub(crate) struct SparkSeries {
    pub(crate) points: VecDeque<u64>,
}

impl SparkSeries {
    fn add(&mut self, value: f64) {
        if self.points.len() == HISTORY_MAX {
            self.points.pop_front();
        }
        // As a cast: what is no number is 0.
        self.points.push_back(value.round() as u64);
    }
}

/// The series that are kept.
#[derive(Default)]
pub(crate) struct SparkHistory {
    pub(crate) gets: SparkSeries,
    pub(crate) sets: SparkSeries,
    /// In thousandths.
    pub(crate) hits: SparkSeries,
    pub(crate) sent: SparkSeries,
}

/// What a key asks of the caller.
#[derive(Debug, PartialEq)]
pub(crate) enum KeyEffect {
    None,
    Quit,
    /// Look at this interval.
    Interval(Duration),
}

/// All that is drawn.
pub(crate) struct TopState {
    pub(crate) server: String,
    pub(crate) interval: Duration,
    pub(crate) previous: Option<Snapshot>,
    pub(crate) latest: Option<Snapshot>,
    /// Why the server does not answer.
    pub(crate) trouble: Option<String>,
    pub(crate) history: SparkHistory,
    pub(crate) pane: Pane,
    pub(crate) is_paused: bool,
    pub(crate) shows_help: bool,
    /// Column of the classes' table by which it is sorted, and whether the largest comes first.
    pub(crate) sort: usize,
    pub(crate) descending: bool,
    /// First row of the pane that is shown; the drawing lowers it to what exists.
    pub(crate) scroll: usize,
}

impl TopState {
    pub(crate) fn new(server: String, interval: Duration) -> Self {
        Self {
            server,
            interval,
            previous: None,
            latest: None,
            trouble: None,
            history: SparkHistory::default(),
            pane: Pane::Commands,
            is_paused: false,
            shows_help: false,
            sort: 0,
            descending: false,
            scroll: 0,
        }
    }

    /// The last two looks, if they are of one run of the server.
    pub(crate) fn delta(&self) -> Option<SnapshotDelta<'_>> {
        SnapshotDelta::of(self.previous.as_ref()?, self.latest.as_ref()?)
    }

    /// Time since the last look, if it is longer than looks take.
    pub(crate) fn stale(&self, now: Instant) -> Option<Duration> {
        let age = now.saturating_duration_since(self.latest.as_ref()?.at);
        (self.trouble.is_some() || age > self.interval * 3 + Duration::from_secs(1)).then_some(age)
    }

    /// Takes a look, unless paused.
    pub(crate) fn take(&mut self, looked: Result<Snapshot, Failure>) {
        match looked {
            Err(failure) => self.trouble = Some(failure.text().trim_start_matches("oxctl: ").to_owned()),
            Ok(snapshot) => {
                self.trouble = None;
                if self.is_paused {
                    return;
                }
                self.previous = self.latest.replace(snapshot);
                if let (Some(old), Some(new)) = (&self.previous, &self.latest)
                    && let Some(delta) = SnapshotDelta::of(old, new)
                {
                    self.history.gets.add(delta.rate(&["cmd_get"]));
                    self.history.sets.add(delta.rate(&["cmd_set"]));
                    self.history.hits.add(delta.hit_percent().unwrap_or(0.0) * 10.0);
                    self.history.sent.add(delta.rate(&["bytes_written"]));
                }
            }
        }
    }

    /// `columns`: those of the classes' table.
    pub(crate) fn press(&mut self, key: KeyEvent, columns: usize) -> KeyEffect {
        if key.kind == KeyEventKind::Release {
            return KeyEffect::None;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if is_control => return KeyEffect::Quit,
            KeyCode::Char('q') => return KeyEffect::Quit,
            KeyCode::Esc if !self.shows_help => return KeyEffect::Quit,
            KeyCode::Char('?' | 'h') => self.shows_help = !self.shows_help,
            _ if self.shows_help => self.shows_help = false,
            KeyCode::Char('p' | ' ') => {
                self.is_paused = !self.is_paused;
            }
            KeyCode::Tab | KeyCode::Right => self.show(self.pane.moved(1)),
            KeyCode::BackTab | KeyCode::Left => self.show(self.pane.moved(Pane::ALL.len() - 1)),
            KeyCode::Char(digit @ '1'..='5') => self.show(Pane::ALL[digit as usize - '1' as usize].0),
            KeyCode::Char('+' | '=') => return self.change_interval(|known, now| known.find(|next| *next > now)),
            KeyCode::Char('-') => return self.change_interval(|known, now| known.rfind(|next| *next < now)),
            KeyCode::Char('s') => self.sort = (self.sort + 1) % columns.max(1),
            KeyCode::Char('S') => self.sort = (self.sort + columns.max(1) - 1) % columns.max(1),
            KeyCode::Char('r') => self.descending = !self.descending,
            KeyCode::Down | KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(10),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(10),
            KeyCode::Home => self.scroll = 0,
            KeyCode::End => self.scroll = usize::MAX,
            _ => {}
        }
        KeyEffect::None
    }

    fn show(&mut self, pane: Pane) {
        self.pane = pane;
        self.scroll = 0;
    }

    /// Takes the interval that `choose` finds among the known ones; stays if it finds none.
    fn change_interval(
        &mut self,
        choose: impl Fn(&mut std::array::IntoIter<Duration, { INTERVALS.len() }>, Duration) -> Option<Duration>,
    ) -> KeyEffect {
        match choose(&mut INTERVALS.into_iter(), self.interval) {
            Some(interval) => {
                self.interval = interval;
                KeyEffect::Interval(interval)
            }
            None => KeyEffect::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::tests::snapshot;
    use super::*;

    fn press(state: &mut TopState, code: KeyCode) -> KeyEffect {
        state.press(KeyEvent::new(code, KeyModifiers::NONE), 3)
    }

    fn state() -> TopState {
        TopState::new("a:1".to_owned(), Duration::from_secs(1))
    }

    #[test]
    fn keys_do_what_the_help_says() {
        let mut state = state();
        press(&mut state, KeyCode::Tab);
        assert_eq!(state.pane, Pane::Classes);
        press(&mut state, KeyCode::BackTab);
        press(&mut state, KeyCode::BackTab);
        assert_eq!(state.pane, Pane::Special(2));
        press(&mut state, KeyCode::Char('4'));
        assert_eq!(state.pane, Pane::Special(1));
        assert_eq!(press(&mut state, KeyCode::Char('+')), KeyEffect::Interval(Duration::from_secs(2)));
        assert_eq!(press(&mut state, KeyCode::Char('-')), KeyEffect::Interval(Duration::from_secs(1)));
        state.interval = Duration::from_millis(100);
        assert_eq!(press(&mut state, KeyCode::Char('-')), KeyEffect::None);
        state.interval = Duration::from_secs(3600);
        assert_eq!(press(&mut state, KeyCode::Char('+')), KeyEffect::None);
        assert_eq!(press(&mut state, KeyCode::Char('-')), KeyEffect::Interval(Duration::from_secs(60)));
        press(&mut state, KeyCode::Char('S'));
        assert_eq!(state.sort, 2);
        press(&mut state, KeyCode::Char('s'));
        press(&mut state, KeyCode::Char('r'));
        assert_eq!((state.sort, state.descending), (0, true));
        press(&mut state, KeyCode::End);
        press(&mut state, KeyCode::Down);
        press(&mut state, KeyCode::Home);
        press(&mut state, KeyCode::Up);
        assert_eq!(state.scroll, 0);
        press(&mut state, KeyCode::Char('?'));
        assert!(state.shows_help);
        assert_eq!(press(&mut state, KeyCode::Esc), KeyEffect::None);
        assert_eq!((state.shows_help, press(&mut state, KeyCode::Esc)), (false, KeyEffect::Quit));
        assert_eq!(press(&mut state, KeyCode::Char('q')), KeyEffect::Quit);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(state.press(control_c, 3), KeyEffect::Quit);
    }

    #[test]
    fn a_pause_keeps_the_picture_and_history_is_bounded() {
        let mut state = state();
        let start = Instant::now();
        let at = |second: u64, gets: u64| {
            Ok(snapshot(
                start,
                second,
                &[("uptime", &second.to_string()), ("cmd_get", &gets.to_string())],
                &[],
                [None; 3],
            ))
        };
        (0..HISTORY_MAX as u64 + 10).for_each(|second| state.take(at(second, second * 7)));
        assert_eq!(state.history.gets.points.len(), HISTORY_MAX);
        assert_eq!(state.history.gets.points.back(), Some(&7));
        press(&mut state, KeyCode::Char('p'));
        let before = state.latest.as_ref().unwrap().at;
        state.take(at(1000, 0));
        assert_eq!(state.latest.as_ref().unwrap().at, before);
        press(&mut state, KeyCode::Char('p'));
        state.take(at(1000, 1_000_000));
        assert!(state.latest.as_ref().unwrap().at > before);
    }

    #[test]
    fn a_silent_server_is_stale() {
        let mut state = state();
        let start = Instant::now();
        assert!(state.stale(start).is_none());
        state.take(Ok(snapshot(start, 0, &[], &[], [None; 3])));
        assert!(state.stale(start + Duration::from_secs(3)).is_none());
        assert_eq!(state.stale(start + Duration::from_secs(9)), Some(Duration::from_secs(9)));
        state.take(Err(Failure::Unavailable("gone".to_owned())));
        assert_eq!(state.stale(start + Duration::from_secs(1)), Some(Duration::from_secs(1)));
        assert_eq!(state.trouble.as_deref(), Some("gone"));
        state.take(Ok(snapshot(start, 2, &[], &[], [None; 3])));
        assert!(state.stale(start + Duration::from_secs(2)).is_none());
    }
}
