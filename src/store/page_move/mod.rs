//! Page moves: draining a page of one class and giving it to another class, to the global pool or to the same class
//! for a new layout.

pub(in crate::store) mod rescue;
