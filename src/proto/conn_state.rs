//! What a connection is doing, as `stats conns` and `-vvv` tell it.
//!
//! Owns memcached's names of the states. Knows neither sessions nor sockets; `session` says which state fits what it waits
//! for, `net` keeps it in the connection's card.

/// Connection states by memcached's names, as `stats conns` and `-vvv` show them.
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
    const ALL: [Self; 12] = [
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
