//! Commits and the replies that wait for them.
//!
//! Owns which commits have ended, how, and the reports that wait. Must not know engines or changes. The writer ends
//! commits, in the order of their numbers; workers wait for them.

use crate::cache::{CommitNumber, CommitReport, Committed};
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Failed commits that are remembered. A worker asks for the outcome within a turn of the change, and while commits
/// fail the writer ends ten a second at most.
const FAILED_KEPT: usize = 1024;

#[derive(Default)]
struct CommitState {
    /// Number of the last commit that has ended.
    ended: u64,
    /// Numbers of the last failed ones.
    failed: VecDeque<u64>,
    waiting: Vec<(u64, CommitReport)>,
}

impl CommitState {
    fn outcome(&self, number: u64) -> Committed {
        if self.failed.contains(&number) { Committed::Failed } else { Committed::Durable }
    }
}

/// The commits.
#[derive(Default)]
pub(super) struct Commits(Mutex<CommitState>);

impl Commits {
    /// Calls `report` with the outcome once the commit has ended.
    pub fn when_ended(&self, number: CommitNumber, report: CommitReport) {
        let mut state = self.0.lock();
        if number.0 > state.ended {
            state.waiting.push((number.0, report));
            return;
        }
        let outcome = state.outcome(number.0);
        drop(state);
        report(outcome);
    }

    /// Ends a commit; reports it to those that wait.
    pub fn end(&self, number: u64, outcome: Committed) {
        let mut state = self.0.lock();
        debug_assert!(number > state.ended);
        state.ended = number;
        if outcome == Committed::Failed {
            if state.failed.len() == FAILED_KEPT {
                state.failed.pop_front();
            }
            state.failed.push_back(number);
        }
        let (due, waiting) = std::mem::take(&mut state.waiting).into_iter().partition(|(of, _)| *of <= number);
        state.waiting = waiting;
        drop(state);
        let due: Vec<(u64, CommitReport)> = due;
        due.into_iter().for_each(|(_, report)| report(outcome));
    }

    /// Number of the last commit that has ended.
    pub fn ended(&self) -> u64 {
        self.0.lock().ended
    }

    /// Reports that wait.
    pub fn waiting(&self) -> usize {
        self.0.lock().waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn each_report_gets_the_outcome_of_its_commit() {
        let commits = Commits::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let ask = |number: u64| {
            let seen = Arc::clone(&seen);
            let report = move |outcome| seen.lock().push((number, outcome));
            commits.when_ended(CommitNumber(number), Box::new(report));
        };
        [1, 2, 3, 2].into_iter().for_each(ask);
        commits.end(1, Committed::Durable);
        commits.end(2, Committed::Failed);
        assert_eq!(*seen.lock(), [(1, Committed::Durable), (2, Committed::Failed), (2, Committed::Failed)]);
        assert_eq!(commits.waiting(), 1);
        commits.end(3, Committed::Durable);
        seen.lock().clear();
        [1, 2, 3].into_iter().for_each(ask);
        let expected = [(1, Committed::Durable), (2, Committed::Failed), (3, Committed::Durable)];
        assert_eq!(*seen.lock(), expected, "commits that have ended report at once");
    }
}
