//! Open connections per peer address, for `-o maxconns_per_ip`.
//!
//! Owns the counts; must not know sockets. `net` takes an [`AddressPlace`] before it accepts a client. The
//! connection's [`ConnInfo`](super::ConnInfo) holds the place, and frees it when its last reference is dropped.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Number of connections by address; no entry for an address without connections.
type Counts = Mutex<BTreeMap<IpAddr, u32>>;

/// Connection counts. Lock rank: see docs/locking.md.
#[derive(Default)]
pub struct Addresses(Arc<Counts>);

/// One connection in the count of its address; dropping it decrements the count.
pub struct AddressPlace {
    counts: Arc<Counts>,
    address: IpAddr,
}

impl Addresses {
    /// Counts one more connection of `address`; `None` if it has `most` already. An IPv4-mapped IPv6 address counts
    /// as the IPv4 address.
    pub fn enter(&self, address: IpAddr, most: u32) -> Option<AddressPlace> {
        let address = address.to_canonical();
        let mut counts = self.0.lock();
        let count = counts.entry(address).or_default();
        // `most` is at least 1, so a refusal never leaves a new entry with count 0.
        if *count >= most.max(1) {
            return None;
        }
        *count += 1;
        Some(AddressPlace { counts: Arc::clone(&self.0), address })
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_per_address_and_return_to_zero() {
        let (addresses, of) = (Addresses::default(), |text: &str| text.parse().unwrap());
        let first = addresses.enter(of("10.0.0.1"), 2).unwrap();
        let second = addresses.enter(of("::ffff:10.0.0.1"), 2).unwrap();
        assert!(addresses.enter(of("10.0.0.1"), 2).is_none() && addresses.enter(of("::ffff:10.0.0.1"), 2).is_none());
        let other = addresses.enter(of("2001:db8::1"), 1).unwrap();
        assert!(addresses.enter(of("2001:db8::1"), 1).is_none());
        assert!(addresses.enter(of("2001:db8::2"), 1).is_some());
        drop(first);
        let third = addresses.enter(of("10.0.0.1"), 2).unwrap();
        drop((second, third, other));
        assert!(addresses.0.lock().is_empty());
    }
}
