//! Open connections by the address of their peer.
//!
//! Owns the counts. Must not know sockets. `net` asks for a place before it takes a client in; the connection's card
//! keeps it, and gives it back with the last of what belongs to the connection.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Connections of each address that has any.
type Counts = Mutex<BTreeMap<IpAddr, u32>>;

/// The counts. Lock rank: see docs/locking.md.
#[derive(Default)]
pub struct Addresses(Arc<Counts>);

/// One connection's place in the count of its address.
pub struct AddressPlace {
    counts: Arc<Counts>,
    address: IpAddr,
}

impl Addresses {
    /// A place for one more connection of `address`, unless it has `most`. An IPv4 address in IPv6's clothes is the same
    /// as the bare one.
    pub fn enter(&self, address: IpAddr, most: u32) -> Option<AddressPlace> {
        let address = address.to_canonical();
        let mut counts = self.0.lock();
        let count = counts.entry(address).or_default();
        // An address without a connection has no entry, and `most` is at least 1: a refused one leaves none behind.
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
    fn each_address_has_its_own_places_and_none_when_it_has_gone() {
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
