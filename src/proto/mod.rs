//! Protocols: bytes to verbs and back. Knows no sockets: `net` supplies the input and writes the output.

mod binary;
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

pub use crate::conns::{AddressPlace, ConnInfo, ConnState, ConnTable};
pub use crate::events::CloseReason;
pub use input::Input;
pub use output::Output;
pub use session::{NO_READ_MEMORY, Protocol, Session, Step};
pub use shared::{Control, Cx, Shared, size_config};
