//! The store alone: lookups, commits, eviction and index growth; how they scale; the shared cache lines they write.
//!
//! `cargo bench --bench store` times single operations, which shows whether a change of the store helps, and then prints
//! the table of `scaling`. `-- NAME` runs the operations whose names contain it; `-- scaling` prints the table alone. With
//! the feature `count-lines` (`make cache-lines`) nothing is timed: it prints the table of `lines`.
#![allow(missing_docs, reason = "criterion's macros")]
#![allow(clippy::unwrap_used)]

#[cfg(feature = "count-lines")]
mod lines;
#[cfg(not(feature = "count-lines"))]
mod operations;
mod ops;
#[cfg(not(feature = "count-lines"))]
mod scaling;

#[cfg(feature = "count-lines")]
fn main() {
    lines::table();
}

#[cfg(not(feature = "count-lines"))]
fn main() {
    // cargo passes `--bench`; with a name of an operation, or another option of criterion, the table is not wanted.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let is_scaling = args.iter().any(|arg| arg == "scaling");
    if !is_scaling {
        operations::run();
    }
    if is_scaling || args.is_empty() {
        scaling::table();
    }
}
