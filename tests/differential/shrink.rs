//! Owns the reduction of a case that differs: fewer exchanges, fewer commands, fewer splits, as long as some
//! difference remains. Called by `main`; each attempt runs on new servers.

use std::time::{Duration, Instant};

use crate::drive::Difference;
use crate::stream::{Case, Part};

/// A case reduced for this long is readable; more time is not worth it.
const TIME_MAX: Duration = Duration::from_secs(90);

/// The smallest case found, and its difference.
pub fn shrink(case: &Case, found: Difference, run: impl Fn(&Case) -> Option<Difference>) -> (Case, Difference) {
    let mut search = Search { best: case.clone(), found, run, started: Instant::now() };
    search.best.exchanges.truncate(search.found.at + 1);
    loop {
        let before = search.size();
        search.exchanges();
        search.commands();
        search.cuts();
        search.flags();
        if search.size() == before || search.started.elapsed() > TIME_MAX {
            return (search.best, search.found);
        }
    }
}

struct Search<R> {
    best: Case,
    found: Difference,
    run: R,
    started: Instant,
}

impl<R: Fn(&Case) -> Option<Difference>> Search<R> {
    fn size(&self) -> usize {
        let parts = self.best.exchanges.iter().flat_map(|exchange| &exchange.commands).map(|c| c.parts.len() + 1);
        parts.sum::<usize>() + self.best.exchanges.len() + self.best.flags.len()
    }

    /// Accepts the candidate if it still differs.
    fn accept(&mut self, mut candidate: Case) -> bool {
        if self.started.elapsed() > TIME_MAX {
            return false;
        }
        let Some(found) = (self.run)(&candidate) else { return false };
        candidate.exchanges.truncate(found.at + 1);
        self.best = candidate;
        self.found = found;
        true
    }

    /// Removes runs of exchanges, the longest first.
    fn exchanges(&mut self) {
        let mut length = self.best.exchanges.len().next_power_of_two();
        while length >= 1 {
            let mut from = 0;
            while from < self.best.exchanges.len() {
                let mut candidate = self.best.clone();
                let to = (from + length).min(candidate.exchanges.len());
                candidate.exchanges.drain(from..to);
                if candidate.exchanges.is_empty() || !self.accept(candidate) {
                    from += length;
                }
            }
            length /= 2;
        }
    }

    /// Removes single commands.
    fn commands(&mut self) {
        let mut at = 0;
        while at < self.best.exchanges.len() {
            let mut index = 0;
            while let Some(exchange) = self.best.exchanges.get(at)
                && index < exchange.commands.len()
                && exchange.commands.len() > 1
            {
                let mut candidate = self.best.clone();
                candidate.exchanges[at].commands.remove(index);
                if !self.accept(candidate) {
                    index += 1;
                }
            }
            at += 1;
        }
    }

    /// Removes all splits.
    fn cuts(&mut self) {
        let mut candidate = self.best.clone();
        for command in candidate.exchanges.iter_mut().flat_map(|exchange| &mut exchange.commands) {
            command.parts.retain(|part| !matches!(part, Part::Split | Part::Barrier));
        }
        self.accept(candidate);
    }

    fn flags(&mut self) {
        if !self.best.flags.is_empty() {
            let candidate = Case { flags: Vec::new(), ..self.best.clone() };
            self.accept(candidate);
        }
    }
}

#[test]
fn irrelevant_parts_are_removed() {
    use crate::stream::{Command, Exchange};
    let command = |text: &str| Command::bytes(text.as_bytes());
    let exchange = |n: usize| Exchange::new(n % 3, vec![command("get a\r\n"), command(&format!("get b{n}\r\n"))]);
    let case = Case { flags: vec!["-C"], exchanges: (0..40).map(exchange).collect(), ..Case::default() };
    let run = |case: &Case| {
        let at = |needle: &str| case.exchanges.iter().position(|_| case.describe().contains(needle));
        at("get b3\\r").and(at("get b17\\r")).map(|_| Difference {
            at: case.exchanges.len() - 1,
            what: String::new(),
            ours: Vec::new(),
            reference: Vec::new(),
        })
    };
    let (small, _) = shrink(&case, run(&case).unwrap(), run);
    let left = small.describe();
    assert_eq!(left, "server flags: []\n  connection 0: get b3\\r\\n\n  connection 2: get b17\\r\\n\n");
}
