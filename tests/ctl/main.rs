//! oxctl from outside: each command against oxcached, against memcached where `MEMCACHED_BIN` names one, and against
//! peers that break the protocol.
//!
//! A program of its own, since it exists only with the feature `oxctl`.
#![allow(clippy::unwrap_used, reason = "a test: what is not there fails it")]

mod commands;
mod dump;
mod harness;
mod hostile;
mod tool;
mod top;
