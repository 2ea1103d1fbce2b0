//! The durable copy.

mod parts;
