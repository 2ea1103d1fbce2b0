//! What a key may be after a crash.
//!
//! Owns the states that a key has had, when each was acknowledged, and which of them a crash may leave. The last
//! acknowledged state and later ones may be found; with a mode that loses a window of time, also those before it that
//! were replaced within the window before the crash.

use crate::Outcome;
use std::time::{Duration, Instant};

/// Time before a crash from which acknowledged changes may be lost.
#[derive(Clone, Copy)]
pub struct Window(Duration);

impl Window {
    /// The window of a durability. A commit may be under way when the next changes come, and a slow disk holds it up:
    /// that is what the second is for.
    pub fn of(durability: &str) -> Outcome<Self> {
        Ok(Self(match durability {
            "sync" => Duration::ZERO,
            "batch" => Duration::from_millis(1005),
            "async" => Duration::from_secs(2),
            other => return Err(format!("no durability: {other}").into()),
        }))
    }
}

/// An item as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub value: Vec<u8>,
    pub flags: u32,
    pub cas: u64,
    /// It expires; the time is compared within seconds.
    pub expires: bool,
}

/// The states of a key, oldest first; `None`: no item.
pub struct History {
    states: Vec<(Option<Instant>, Option<Item>)>,
    killed_at: Option<Instant>,
}

impl History {
    pub fn new() -> Self {
        Self { states: vec![(Some(Instant::now()), None)], killed_at: None }
    }

    /// A change has been sent that leads to this state. Its CAS id is known with the reply.
    pub fn sent(&mut self, state: Option<Item>) {
        self.states.push((None, state));
    }

    /// The last change was acknowledged.
    pub fn acknowledged(&mut self, cas: Option<u64>) {
        let now = Instant::now();
        if let Some((at, state)) = self.states.last_mut() {
            *at = Some(now);
            if let (Some(item), Some(cas)) = (state, cas) {
                item.cas = cas;
            }
        }
        // No window is longer.
        while self.states.len() > 2
            && self.states[1].0.is_some_and(|at| now.duration_since(at) > Duration::from_secs(4))
        {
            self.states.remove(0);
        }
    }

    /// The last change changed nothing.
    pub fn withdrawn(&mut self) {
        self.states.pop();
    }

    /// The state that the client knows of.
    pub fn now(&self) -> Option<&Item> {
        self.states.last().and_then(|(_, state)| state.as_ref())
    }

    pub fn killed(&mut self, at: Instant) {
        self.killed_at = Some(at);
    }

    /// Whether `found` is a state that the crash may have left, and whether it was not acknowledged. It is the key's
    /// state from now on.
    pub fn settle(&mut self, found: Option<Item>, window: Window) -> Result<bool, String> {
        let limit = self.killed_at.take().and_then(|at| at.checked_sub(window.0));
        // The last state that must have survived.
        let kept = |at: &Option<Instant>| at.is_some_and(|at| limit.is_none_or(|limit| at <= limit));
        let first = self.states.iter().rposition(|(at, _)| kept(at)).unwrap_or(0);
        let fits = |state: &Option<Item>| match (state, &found) {
            (None, None) => true,
            // A change in doubt has no known CAS id.
            (Some(a), Some(b)) => {
                (&a.value, a.flags, a.expires) == (&b.value, b.flags, b.expires) && (a.cas == 0 || a.cas == b.cas)
            }
            _ => false,
        };
        let position = self.states[first..].iter().rposition(|(_, state)| fits(state));
        let Some(position) = position else {
            let expected: Vec<_> = self.states[first..].iter().map(|(at, state)| (at.is_some(), state)).collect();
            let message = format!("found {}, expected one of {expected:?}", shown(found.as_ref()));
            self.states = vec![(Some(Instant::now()), found)];
            return Err(message);
        };
        let doubtful = self.states[first + position].0.is_none();
        self.states = vec![(Some(Instant::now()), found)];
        Ok(doubtful)
    }
}

fn shown(item: Option<&Item>) -> String {
    item.map_or("nothing".to_owned(), |item| {
        format!("{} bytes, flags {}, cas {}, expires {}", item.value.len(), item.flags, item.cas, item.expires)
    })
}
