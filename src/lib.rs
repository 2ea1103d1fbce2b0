//! oxcached: a drop-in replacement for memcached.
