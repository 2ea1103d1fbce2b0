//! Protocols: bytes to verbs and back. Knows no sockets: `net` supplies the input and writes the output.

mod addresses;
mod binary;
mod conn_state;
mod input;
mod listing;
mod lookahead;
mod meta;
mod output;
mod report;
mod session;
mod shared;
mod text;
mod upload;

pub use crate::events::CloseReason;
pub use addresses::AddressPlace;
pub use conn_state::ConnState;
pub use input::Input;
pub use output::Output;
pub use report::hash_power;
pub use session::{NO_READ_MEMORY, Protocol, Session, Step};
pub use shared::{ConnInfo, ConnTable, Control, Cx, Shared, size_config};
