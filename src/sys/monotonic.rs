//! The monotonic clock in nanoseconds, as one number.
//!
//! Owns one call. `Instant` holds seconds apart from nanoseconds, so a difference of two costs a borrow, checks and a
//! multiplication; timed turns read the clock too often for that. Called by `proto` and `net`.
#![allow(unsafe_code)]

/// Nanoseconds since a moment before the process began, at least 1; never falls. 1 if the kernel has no such clock.
#[inline]
pub fn nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which the call fills in.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    (time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn differences_are_those_of_an_instant() {
        let (outer, begin) = (Instant::now(), nanos());
        let inner = Instant::now();
        while inner.elapsed() < Duration::from_millis(2) {}
        let within = inner.elapsed();
        let (end, around) = (nanos(), outer.elapsed());
        let measured = Duration::from_nanos(end - begin);
        assert!(within <= measured && measured <= around, "{within:?} {measured:?} {around:?}");
    }
}
