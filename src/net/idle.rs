//! When to look at which connection for the idle timeout.
//!
//! Owns a wheel of one-second buckets of tokens, lazily kept: a connection is looked at once a timeout, not
//! once a second, and moved on if it was busy since. Must not know connections; `worker` judges them.

/// Most buckets; a later deadline is looked at early and moved on.
const BUCKETS_MAX: u32 = 1024;

const _: () = assert!(crate::limits::AUTH_SECONDS_MAX + 2 < BUCKETS_MAX);

/// Deadlines of one worker's connections.
pub(super) struct Wheel {
    /// Seconds without a command that are still allowed.
    limit: u32,
    buckets: Vec<Vec<usize>>,
    /// First second not yet turned over.
    next: u32,
    /// Tokens whose second has come.
    due: Vec<usize>,
}

impl Wheel {
    pub(super) fn new(limit: u32, now: u32) -> Self {
        let buckets = limit.saturating_add(2).min(BUCKETS_MAX);
        Self { limit, buckets: (0..buckets).map(|_| Vec::new()).collect(), next: now, due: Vec::new() }
    }

    /// Whether a connection that ran its last command at `last_cmd` has been idle for too long.
    pub(super) fn expired(&self, last_cmd: u32, now: u32) -> bool {
        now.saturating_sub(last_cmd) > self.limit
    }

    /// Second at which a connection that ran its last command at `last_cmd` will have been idle for too long.
    pub(super) fn deadline(&self, last_cmd: u32) -> u32 {
        last_cmd.saturating_add(self.limit).saturating_add(1)
    }

    /// Has `token` looked at in second `at`, or in the next one if that is past.
    pub(super) fn insert(&mut self, token: usize, at: u32) {
        let len = self.buckets.len() as u32;
        let at = at.clamp(self.next, self.next.saturating_add(len - 1));
        self.buckets[(at % len) as usize].push(token);
    }

    /// Turns the wheel to `now`.
    pub(super) fn turn(&mut self, now: u32) {
        let len = self.buckets.len() as u32;
        let end = now.saturating_add(1);
        for second in self.next.max(end.saturating_sub(len))..end {
            self.due.append(&mut self.buckets[(second % len) as usize]);
            self.buckets[(second % len) as usize] = Vec::new();
        }
        self.next = self.next.max(end);
    }

    /// The next token to look at.
    pub(super) fn pop(&mut self) -> Option<usize> {
        self.due.pop()
    }

    /// Whether tokens wait to be looked at.
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(wheel: &mut Wheel, now: u32) -> Vec<usize> {
        wheel.turn(now);
        std::iter::from_fn(|| wheel.pop()).collect()
    }

    #[test]
    fn r4_1_each_token_comes_at_its_second_and_once() {
        let mut wheel = Wheel::new(3, 62);
        wheel.insert(7, wheel.deadline(62));
        assert_eq!(due(&mut wheel, 63), []);
        wheel.insert(8, wheel.deadline(63));
        assert_eq!(due(&mut wheel, 65), []);
        assert_eq!(due(&mut wheel, 66), [7]);
        assert_eq!(due(&mut wheel, 67), [8]);
        assert_eq!(due(&mut wheel, 70), []);
        assert!(wheel.expired(62, 66) && !wheel.expired(62, 65));
    }

    #[test]
    fn r4_1_a_jump_of_the_clock_loses_nobody() {
        let mut wheel = Wheel::new(3, 62);
        for token in 0..5 {
            wheel.insert(token, 62 + token as u32);
        }
        let mut all = due(&mut wheel, 10_000);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4]);
        wheel.insert(9, 1);
        assert_eq!(due(&mut wheel, 10_001), [9]);
    }

    #[test]
    fn r4_1_a_deadline_beyond_the_wheel_comes_early_to_be_moved_on() {
        let mut wheel = Wheel::new(1_000_000, 62);
        wheel.insert(1, wheel.deadline(62));
        assert_eq!(due(&mut wheel, 62 + BUCKETS_MAX), [1]);
    }
}
