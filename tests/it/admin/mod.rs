//! What an operator uses: the command line, statistics of any length, watchers.

mod cli;
mod reports;
mod statistics;
mod watch;
