//! The oxcached binary.
fn main() {}
