//! Eviction: which item is evicted when memory is short.

pub(in crate::store) mod class_stats;
pub(in crate::store) mod clock_hand;
pub(in crate::store) mod lru_list;
pub(in crate::store) mod queues;
pub(in crate::store) mod ring;

pub(in crate::store) use class_stats::{ClassStats, ClockPeriod, HotRatio, Part};
pub(in crate::store) use lru_list::LruList;
pub(in crate::store) use queues::{Extra, segment, slots_of, unmark};
pub(in crate::store) use ring::Ring;
