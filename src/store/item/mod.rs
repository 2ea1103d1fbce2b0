//! Items in their chunks: layout, header, keys, handles, and bytes in atomic words.
//!
//! The lowest room of the store: knows no page, no index and no lock. Used by all other rooms.

pub(in crate::store) mod atomic_bytes;
pub(in crate::store) mod handle;
pub(in crate::store) mod header;
pub(in crate::store) mod key;
pub(in crate::store) mod layout;

pub(in crate::store) use atomic_bytes::{WORD, copy_in, exclusive_bytes, load_pair, stable_bytes, store_pair};
pub(in crate::store) use handle::{FIRST_PAGE, Handle, Handles, LONG_PAGES, Links, SHORT_PAGES, raw_of};
pub(in crate::store) use key::Key;
pub(in crate::store) use layout::{EXPTIME_SHORT_MAX, Header, Item, Meta, OPEN_BYTES, SEQ_MASK, iflag, kind, state};
