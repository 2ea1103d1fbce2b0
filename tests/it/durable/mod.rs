//! The durable copy: its engines by their traits, the parts together, the program.

mod engines;
mod parts;
mod program;
mod sqlite;
