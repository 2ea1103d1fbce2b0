//! Per-thread buffers for one value, reused from one use to the next.
//!
//! Owns the reuse, so that `incr` and `append` allocate nothing in steady state. Knows no items. Used by the store and
//! by `cache` for values up to `COPY_MAX`.

use crate::limits::COPY_MAX;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// Buffers kept per thread: joining two values needs two.
const KEPT: usize = 2;

thread_local! {
    static BUFFERS: [Cell<Vec<u8>>; KEPT] = const { [const { Cell::new(Vec::new()) }; KEPT] };
}

/// An initially empty `Vec` with room for a value. Its memory returns to the thread when it drops.
pub struct Scratch(Vec<u8>);

impl Scratch {
    /// Takes one of the thread's buffers, or a new one.
    pub fn take() -> Self {
        let kept = BUFFERS
            .try_with(|buffers| buffers.iter().map(Cell::take).find(|bytes| bytes.capacity() > 0).unwrap_or_default());
        let mut bytes = kept.unwrap_or_default();
        bytes.reserve(COPY_MAX + 16);
        Self(bytes)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.0.clear();
        let bytes = std::mem::take(&mut self.0);
        // A thread that is exiting has lost its buffers; this one is freed.
        let _ = BUFFERS.try_with(|buffers| {
            let mut bytes = bytes;
            for buffer in buffers {
                // The buffer that was here moves to the next place.
                bytes = buffer.replace(bytes);
                if bytes.capacity() == 0 {
                    return;
                }
            }
        });
    }
}

impl Deref for Scratch {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}
