//! The durable copy of the items (`-o store=`): what was stored outlives the process, and comes back when it is asked
//! for.
//!
//! Owns the changes that are not yet written, the thread that writes them, the threads that load records, and the
//! filter of the stored keys. Knows the store and the cache by their traits ([`ChangeSink`](crate::store::ChangeSink),
//! [`Backing`](crate::cache::Backing)), and no protocol. Made by `server`; read by `report`.

pub mod engine;
