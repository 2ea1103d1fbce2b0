//! A limit on the bytes that the reports of many clients take together.
//!
//! Owns the count. A report holds a [`BudgetShare`], which returns its bytes when it is dropped.

use crate::limits::REPORTS_MAX;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes taken, and their maximum.
pub struct Budget {
    used: Arc<AtomicU64>,
    max: u64,
}

/// A share of a budget.
pub struct BudgetShare {
    used: Arc<AtomicU64>,
    max: u64,
    bytes: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { used: Arc::default(), max: REPORTS_MAX as u64 }
    }
}

impl Budget {
    /// Bytes taken now.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// A share of no bytes.
    pub fn share(&self) -> BudgetShare {
        BudgetShare { used: Arc::clone(&self.used), max: self.max, bytes: 0 }
    }
}

impl BudgetShare {
    /// Grows the share to at least `bytes`; false, and no change, if that exceeds the budget.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let more = (bytes as u64).saturating_sub(self.bytes);
        let within = |used: u64| Some(used.saturating_add(more)).filter(|sum| *sum <= self.max);
        let granted = more == 0 || self.used.fetch_update(Relaxed, Relaxed, within).is_ok();
        if granted {
            self.bytes += more;
        }
        granted
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_together_keep_to_the_budget() {
        let budget = Budget { max: 100, ..Budget::default() };
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.grow_to(60) && one.grow_to(10));
        assert!(!other.grow_to(41));
        assert!(other.grow_to(40));
        assert_eq!(budget.used(), 100);
        drop(one);
        assert_eq!(budget.used(), 40);
        assert!(!other.grow_to(101) && other.grow_to(100));
        drop(other);
        assert_eq!(budget.used(), 0);
    }
}
