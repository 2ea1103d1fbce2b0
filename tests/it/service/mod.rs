//! The server under a service manager: messages, watchdog, inherited sockets, drain, and items that outlive a stop.

mod drain;
mod harness;
mod notify;
mod sockets;
mod units;
mod upgrade;
