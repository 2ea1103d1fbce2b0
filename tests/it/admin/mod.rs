//! What an operator uses: the command line, statistics of any length, latencies, watchers.

mod cli;
mod config;
mod keys;
mod latency;
mod reports;
mod statistics;
mod watch;
