//! Settings that change while the server runs.
//!
//! Owns one atomic for each. Must not know which command changes what, or which readers depend on it. Commands write it
//! from any worker; the chores and `stats settings` read it.
//!
//! Every access is relaxed: each value is independent and a reader may see it late. Only the automove settings belong
//! together: [`Runtime::slab_automove_version`] announces their change. It is incremented with release order after the
//! write and read with acquire order before the others.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::{LatencyMode, Settings};

/// An `f64` stored as its bits.
#[derive(Debug)]
struct AtomicF64(AtomicU64);

impl AtomicF64 {
    fn new(value: f64) -> Self {
        AtomicF64(AtomicU64::new(value.to_bits()))
    }

    fn load(&self, order: Ordering) -> f64 {
        f64::from_bits(self.0.load(order))
    }

    fn store(&self, value: f64, order: Ordering) {
        self.0.store(value.to_bits(), order);
    }
}

/// Declares the struct, with a getter `name()` and a setter `set_name(value)` for each field.
macro_rules! live {
    ($($(#[$doc:meta])* $name:ident, $set:ident: $cell:ident as $value:ty;)*) => {
        /// Settings that change at run time; shared by reference, each field read and written on its own.
        #[derive(Debug)]
        pub struct Runtime {
            $($name: $cell,)*
            slab_automove_version: AtomicU32,
            latency_mode: AtomicU32,
        }

        impl Runtime {
            $($(#[$doc])* pub fn $name(&self) -> $value {
                self.$name.load(Ordering::Relaxed)
            }

            #[doc = concat!("Changes [`Runtime::", stringify!($name), "`]; the caller has checked the range.")]
            pub fn $set(&self, value: $value) {
                self.$name.store(value, Ordering::Relaxed);
            })*
        }
    };
}

live! {
    /// Memory for items, in bytes.
    maxbytes, set_maxbytes: AtomicU64 as u64;
    /// Verbosity of standard error; 0 upwards.
    verbose, set_verbose: AtomicU32 as u32;
    /// Items last changed in this second since start, or earlier, are flushed; 0 = none.
    oldest_live, set_oldest_live: AtomicU32 as u32;
    /// Per-prefix counting.
    detail_enabled, set_detail_enabled: AtomicBool as bool;
    /// 0 off, 1 careful, 2 on every eviction.
    slab_automove, set_slab_automove: AtomicU32 as u32;
    /// Maximum ratio of the youngest class's age to the oldest's, above 0 up to 1. Follow with
    /// [`Runtime::bump_slab_automove_version`].
    slab_automove_ratio, set_slab_automove_ratio: AtomicF64 as f64;
    /// Share of memory kept free; stored for the command that sets it. Follow with
    /// [`Runtime::bump_slab_automove_version`].
    slab_automove_freeratio, set_slab_automove_freeratio: AtomicF64 as f64;
    /// Number of samples considered, 3 to 1800. Follow with [`Runtime::bump_slab_automove_version`].
    slab_automove_window, set_slab_automove_window: AtomicU32 as u32;
    /// Whether the crawler thread runs; its owner keeps this accurate.
    lru_crawler, set_lru_crawler: AtomicBool as bool;
    /// Microseconds between items, 0 to 1000000.
    lru_crawler_sleep, set_lru_crawler_sleep: AtomicU32 as u32;
    /// Items per class and run; 0 = all.
    lru_crawler_tocrawl, set_lru_crawler_tocrawl: AtomicU32 as u32;
    /// Whether the LRU maintainer thread runs; its owner keeps this accurate.
    lru_maintainer_thread, set_lru_maintainer_thread: AtomicBool as bool;
    /// Hot, warm and cold lists instead of one.
    lru_segmented, set_lru_segmented: AtomicBool as bool;
    /// Percent of a class's memory for the HOT list. Shown only: the store has its own copy of the value in effect.
    hot_lru_pct, set_hot_lru_pct: AtomicU32 as u32;
    /// Percent of a class's memory for the WARM list in memcached. Stored and shown only: no effect here.
    warm_lru_pct, set_warm_lru_pct: AtomicU32 as u32;
    /// As `warm_max_factor`, for HOT. Stored and shown only: no effect here.
    hot_max_factor, set_hot_max_factor: AtomicF64 as f64;
    /// `lru tune`'s warm factor. In memcached an item leaves WARM once idle for longer than this factor times the age
    /// of the oldest COLD item. Stored and shown only: no effect here.
    warm_max_factor, set_warm_max_factor: AtomicF64 as f64;
    /// Short-lived items get their own list.
    temp_lru, set_temp_lru: AtomicBool as bool;
    /// Maximum lifetime of a short-lived item, in seconds.
    temporary_ttl, set_temporary_ttl: AtomicU32 as u32;
    /// Keys are sampled. Shown only: `Shared::switch_hotkeys` switches.
    hotkeys, set_hotkeys: AtomicBool as bool;
    /// Microseconds from which a turn is slow; `NO_THRESHOLD` = none is.
    slow_threshold, set_slow_threshold: AtomicU64 as u64;
    /// Bytes above which a value is large, at least `COPY_MAX`; `NO_THRESHOLD` = none is.
    large_threshold, set_large_threshold: AtomicU64 as u64;
}

impl Runtime {
    /// The state right after start.
    pub fn new(settings: &Settings) -> Self {
        Runtime {
            maxbytes: AtomicU64::new(settings.maxbytes),
            verbose: AtomicU32::new(settings.verbose.unsigned_abs()),
            oldest_live: AtomicU32::new(0),
            detail_enabled: AtomicBool::new(settings.detail_enabled),
            slab_automove: AtomicU32::new(settings.slab_automove),
            slab_automove_ratio: AtomicF64::new(settings.slab_automove_ratio),
            slab_automove_freeratio: AtomicF64::new(0.01),
            slab_automove_window: AtomicU32::new(settings.slab_automove_window),
            slab_automove_version: AtomicU32::new(0),
            lru_crawler: AtomicBool::new(settings.lru_crawler),
            lru_crawler_sleep: AtomicU32::new(settings.lru_crawler_sleep),
            lru_crawler_tocrawl: AtomicU32::new(settings.lru_crawler_tocrawl),
            lru_maintainer_thread: AtomicBool::new(settings.lru_maintainer_thread),
            lru_segmented: AtomicBool::new(settings.lru_segmented),
            hot_lru_pct: AtomicU32::new(settings.hot_lru_pct.unwrap_or(super::HOT_LRU_PCT)),
            warm_lru_pct: AtomicU32::new(settings.warm_lru_pct),
            hot_max_factor: AtomicF64::new(settings.max_factors.hot),
            warm_max_factor: AtomicF64::new(settings.max_factors.warm),
            temp_lru: AtomicBool::new(settings.temp_lru),
            temporary_ttl: AtomicU32::new(settings.temporary_ttl),
            hotkeys: AtomicBool::new(false),
            slow_threshold: AtomicU64::new(settings.latency.slow_threshold),
            large_threshold: AtomicU64::new(settings.latency.large_threshold),
            latency_mode: AtomicU32::new(settings.latency.mode as u32),
        }
    }

    /// What is timed.
    #[inline]
    pub fn latency_mode(&self) -> LatencyMode {
        LatencyMode::from_u32(self.latency_mode.load(Ordering::Relaxed))
    }

    /// Changes [`Runtime::latency_mode`]; the caller has opened the histograms if anything is timed.
    pub fn set_latency_mode(&self, mode: LatencyMode) {
        self.latency_mode.store(mode as u32, Ordering::Relaxed);
    }

    /// Number of changes of the automove settings; a chore that sees a new number rebuilds its state.
    pub fn slab_automove_version(&self) -> u32 {
        self.slab_automove_version.load(Ordering::Acquire)
    }

    /// Announces a change of the automove settings.
    pub fn bump_slab_automove_version(&self) {
        self.slab_automove_version.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::super::MaxFactors;
    use super::*;

    #[test]
    fn starts_from_settings_and_changes_alone() {
        let rt = Runtime::new(&Settings {
            max_factors: MaxFactors { hot: 0.5, warm: 2.0 },
            verbose: 2,
            ..Settings::default()
        });
        assert_eq!((rt.hot_max_factor(), rt.verbose(), rt.temporary_ttl()), (0.5, 2, 61));
        rt.set_hot_max_factor(0.25);
        rt.set_temp_lru(true);
        assert_eq!((rt.hot_max_factor(), rt.warm_max_factor(), rt.temp_lru()), (0.25, 2.0, true));
        rt.bump_slab_automove_version();
        assert_eq!(rt.slab_automove_version(), 1);
    }
}
