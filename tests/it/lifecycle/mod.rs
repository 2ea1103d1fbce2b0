//! The server's start and end, as a library and as a program.

mod ends;
mod listening;
mod process;
mod server;
