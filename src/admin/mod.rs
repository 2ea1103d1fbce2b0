//! The admin listener of `--admin`: health, statistics and live events over HTTP, on a thread of its own.
//!
//! Owns its sockets, the thread with its runtime, what a client may cost, and the table of routes. Must not know a
//! worker: it reads counters and asks no thread for anything, so that a worker never waits for it. `server` binds and
//! starts it first and stops it last.
//!
//! Imports follow this order, from the top down:
//!
//! ```text
//! thread                        the runtime: accepts, stops
//! conn > timed_io               one connection and its time limits
//! routes   guard   socket       the table: path to handler; which requests may be answered; WebSockets
//! json   exposition   switches  bodies, changes of settings
//! answer > event_stream         status, headers, body
//! state > source > hub, health, counters    what connections share, what a handler may read
//! ```

mod answer;
mod bind;
mod conn;
mod counters;
mod dashboard;
mod event_stream;
pub mod exposition;
mod guard;
mod health;
mod hub;
mod json;
mod routes;
mod socket;
mod source;
mod state;
mod switches;
mod thread;
mod timed_io;

pub use bind::{AdminSockets, BindRefused};
pub use counters::AdminCounters;
pub use guard::AdminToken;
pub use health::{Health, Phase};
pub use hub::{Feed, Hub, LIVE, Viewer, ViewerFrame};
pub use source::Source;
pub use thread::AdminThread;
