//! The server under a service manager: messages and watchdog.

mod harness;
mod notify;
