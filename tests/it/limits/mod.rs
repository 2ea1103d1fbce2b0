//! Bounds of one client's work, and of memory.

mod long_lines;
mod short_memory;
