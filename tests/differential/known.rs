//! Owns the known, deliberate differences: each with a predicate and the reason, the same reasons as in docs/compat.md.
//! Called by `drive` when two replies differ.

/// One difference that is not an error.
pub struct Known {
    /// As the heading in docs/compat.md.
    pub name: &'static str,
    /// Whether this explains the difference between the replies to these bytes.
    pub explains: fn(sent: &[u8], ours: &[u8], reference: &[u8]) -> bool,
}

/// Empty on purpose: none of docs/compat.md's differences is within reach of the streams that are generated here.
pub const KNOWN: &[Known] = &[];

/// The name of the known difference, when it is one.
pub fn explain(sent: &[u8], ours: &[u8], reference: &[u8]) -> Option<&'static str> {
    KNOWN.iter().find(|known| (known.explains)(sent, ours, reference)).map(|known| known.name)
}
