//! Faults of the past, a file each, named by what it shows.

mod chain_numbers_do_not_repeat;
mod chains_find_a_last_chunk;
mod deleted_value_with_a_slow_reader;
mod expired_items_beside_an_upload;
mod heads_leave_no_ring_entry;
mod items_after_a_cancelled_move;
mod keys_forge_no_line;
mod large_items_are_evicted;
mod pinned_value_and_its_bucket;
mod requests_that_broke_memcached;
mod shares_beyond_32_bits;
