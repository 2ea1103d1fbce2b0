//! Connection states of `stats conns` and `-vvv`.
//!
//! Owns memcached's names of the states. Knows neither sessions nor sockets: `session` maps what it waits for to a
//! state, `net` stores it in the connection's `ConnInfo`.

/// Connection state, by memcached's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum ConnState {
    Listening,
    NewCmd,
    Waiting,
    Read,
    ParseCmd,
    Write,
    Nread,
    Swallow,
    Closing,
    Mwrite,
    Closed,
    Watch,
}

impl ConnState {
    /// Every state.
    pub const ALL: [Self; 12] = [
        Self::Listening,
        Self::NewCmd,
        Self::Waiting,
        Self::Read,
        Self::ParseCmd,
        Self::Write,
        Self::Nread,
        Self::Swallow,
        Self::Closing,
        Self::Mwrite,
        Self::Closed,
        Self::Watch,
    ];

    pub(super) fn from_u8(n: u8) -> Self {
        Self::ALL[usize::from(n) % Self::ALL.len()]
    }

    /// memcached's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listening => "conn_listening",
            Self::NewCmd => "conn_new_cmd",
            Self::Waiting => "conn_waiting",
            Self::Read => "conn_read",
            Self::ParseCmd => "conn_parse_cmd",
            Self::Write => "conn_write",
            Self::Nread => "conn_nread",
            Self::Swallow => "conn_swallow",
            Self::Closing => "conn_closing",
            Self::Mwrite => "conn_mwrite",
            Self::Closed => "conn_closed",
            Self::Watch => "conn_watch",
        }
    }
}
