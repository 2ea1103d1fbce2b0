//! A buffer for one value, kept by each thread from one use to the next.
//!
//! Owns the reuse, so that incrementing and appending allocate nothing in steady state. Used by the store and
//! by `cache` for values up to `COPY_MAX`.

use crate::limits::COPY_MAX;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// Buffers kept by each thread: a joined value has two parts.
const KEPT: usize = 2;

thread_local! {
    static BUFFERS: [Cell<Vec<u8>>; KEPT] = const { [const { Cell::new(Vec::new()) }; KEPT] };
}

/// An empty `Vec` with room for a value; its memory goes back to the thread when it drops.
pub struct Scratch(Vec<u8>);

impl Scratch {
    /// A buffer that this thread has, or a new one.
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
        // A thread that ends has nowhere to keep it.
        let _ = BUFFERS.try_with(|buffers| {
            let mut bytes = bytes;
            for buffer in buffers {
                // What stood there moves on.
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
