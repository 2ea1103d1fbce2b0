//! oxcached: a drop-in replacement for memcached.

pub mod settings;
pub mod sys;
