//! The server on strict hosts: its own sandbox (`-o drop_privileges`), and what containers withhold.

mod containers;
mod harness;
mod queues;
mod sandbox;
mod strict;
