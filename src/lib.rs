//! oxcached: a drop-in replacement for memcached.

pub mod cache;
pub mod clock;
pub mod decimal;
pub mod hash;
pub mod limits;
pub mod maint;
pub mod net;
pub mod proto;
pub mod server;
pub mod settings;
pub mod stats;
pub mod store;
pub mod sys;
