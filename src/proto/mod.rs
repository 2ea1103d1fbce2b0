//! Protocols: bytes to verbs and back. Knows no sockets: `net` supplies the input and writes the output.
//!
//! Imports follow this order, from the top down; no two files import each other:
//!
//! ```text
//! session                       states of a conversation; passes a complete upload to its protocol
//! latest_records                slow turns and large values, with the words of their commands
//! text > meta      binary       commands: parsed from bytes alone, then run against the verbs
//! command_result                what a command leaves to the session
//! text/keys   text/dump         a multiget between two runs; an item dump
//! upload   key_reports > listing > report
//!                               an arriving value and its end, as plain data; replies sent in steps
//! gate                          what a change asks of the backing before it runs
//! line                          context and reply of a running line
//! input > lookahead   tokens   output   turn > shared > late, turn_trace > raw_command
//! ```

mod binary;
mod command_result;
mod gate;
mod input;
mod key_reports;
mod late;
mod latency_report;
mod latest_records;
mod line;
mod listing;
mod lookahead;
mod meta;
mod output;
mod raw_command;
mod report;
mod session;
mod shared;
mod text;
mod tokens;
mod turn;
mod turn_trace;
mod upload;

pub use crate::conns::{AddressPlace, ConnInfo, ConnState, ConnTable};
pub use crate::events::CloseReason;
pub use input::Input;
pub use late::{Completions, SlotName, Waits};
pub use output::Output;
pub use session::{NO_READ_MEMORY, Protocol, Session};
pub use shared::{Control, Cx, Shared, size_config};
pub use turn::Step;
pub use turn_trace::TurnTrace;
