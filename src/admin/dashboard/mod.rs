//! The dashboard: a page that shows the server live.
//!
//! Owns the samples and their history, the frames that viewers get, and the embedded files of the page. Knows neither
//! sockets nor HTTP: the listener serves the files, and its hub carries frames to viewers. Workers are asked nothing
//! and never wait.
//!
//! ```text
//! feed                              viewers and their requests; a sample each second
//! frames      watch                 JSON; event lines
//! sampler > history                 rates; the last half hour
//! figures   problems   turns        counters and gauges; what is wrong, in words; times of turns
//! assets                            the files of the page
//! ```

mod assets;
mod feed;
mod figures;
mod frames;
mod history;
mod problems;
mod sampler;
mod turns;
mod watch;

pub(super) use assets::Asset;
pub(super) use feed::start;
