//! The server under a service manager: messages, watchdog, drain, and items that outlive a stop.

mod drain;
mod harness;
mod notify;
