//! The server's start and end, as a library and as a program.

mod check_config;
mod ends;
mod listening;
mod process;
mod server;
