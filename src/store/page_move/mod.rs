//! A page goes from one class to another.

pub(in crate::store) mod drain;
pub(in crate::store) mod rescue;
