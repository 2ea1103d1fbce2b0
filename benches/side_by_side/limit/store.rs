//! Owns the toy store: a table with open addressing whose slots hold a part of the hash and the place of an item in one
//! long array. It never frees, moves or grows. Called by the toy server.

/// Slots; twice as many as the keys of the largest load.
const SLOTS: usize = 1 << 21;
/// Bytes for items, reserved and not touched before they are needed.
const ITEM_BYTES: usize = 2 << 30;
/// An item begins with the sizes of its key and its value.
const HEAD: usize = 8;
/// Items begin at multiples of this.
const ALIGN: usize = 8;

/// A filled slot: part of the hash, place of the item.
#[derive(Clone, Copy)]
pub struct Slot {
    tag: u32,
    place: u32,
}

pub struct Store {
    /// A place of 0 is a free slot.
    slots: Vec<Slot>,
    items: Vec<u8>,
}

impl Store {
    pub fn new() -> Store {
        let mut items = Vec::with_capacity(ITEM_BYTES);
        items.resize(ALIGN, 0);
        Store { slots: vec![Slot { tag: 0, place: 0 }; SLOTS], items }
    }

    fn home(hash: u64) -> usize {
        hash as usize & (SLOTS - 1)
    }

    fn tag(hash: u64) -> u32 {
        (hash >> 32) as u32
    }

    /// Loads the slot where a search begins. The caller uses the result, so that the load stays.
    #[inline]
    pub fn touch_slot(&self, hash: u64) -> u32 {
        self.slots[Store::home(hash)].tag
    }

    /// The first slot that may be the key's.
    #[inline]
    pub fn slot(&self, hash: u64) -> Option<Slot> {
        let mut at = Store::home(hash);
        loop {
            let slot = self.slots[at];
            if slot.place == 0 {
                return None;
            }
            if slot.tag == Store::tag(hash) {
                return Some(slot);
            }
            at = (at + 1) & (SLOTS - 1);
        }
    }

    /// Loads words of an item, as [`Store::touch_slot`] does.
    #[inline]
    pub fn touch_item(&self, slot: Slot) -> u32 {
        let at = slot.place as usize * ALIGN;
        let next = (at + 64).min(self.items.len() - 1);
        let last = (at + 128).min(self.items.len() - 1);
        u32::from(self.items[at]) ^ u32::from(self.items[next]) ^ u32::from(self.items[last])
    }

    /// The value, with its line end. `slot` is the first that may be the key's.
    #[inline]
    pub fn get(&self, hash: u64, slot: Option<Slot>, key: &[u8]) -> Option<&[u8]> {
        let slot = slot?;
        if let (true, value) = self.item(slot, key) {
            return Some(value);
        }
        let (_, slot) = self.find(hash, key)?;
        Some(self.item(slot, key).1)
    }

    /// Whether the item has this key, and its value.
    #[inline]
    fn item(&self, slot: Slot, key: &[u8]) -> (bool, &[u8]) {
        let item = &self.items[slot.place as usize * ALIGN..];
        let size = |at: usize| u32::from_le_bytes([item[at], item[at + 1], item[at + 2], item[at + 3]]) as usize;
        let (key_size, value_size) = (size(0), size(4));
        let (stored, rest) = item[HEAD..].split_at(key_size);
        (stored == key, &rest[..value_size])
    }

    /// The key's slot and its index.
    fn find(&self, hash: u64, key: &[u8]) -> Option<(usize, Slot)> {
        let mut at = Store::home(hash);
        loop {
            let slot = self.slots[at];
            if slot.place == 0 {
                return None;
            }
            if slot.tag == Store::tag(hash) && self.item(slot, key).0 {
                return Some((at, slot));
            }
            at = (at + 1) & (SLOTS - 1);
        }
    }

    /// Stores a value with its line end: over the old one where that is as long.
    pub fn set(&mut self, hash: u64, key: &[u8], value: &[u8]) {
        let found = self.find(hash, key);
        if let Some((_, slot)) = found
            && self.item(slot, key).1.len() == value.len()
        {
            let at = slot.place as usize * ALIGN + HEAD + key.len();
            self.items[at..at + value.len()].copy_from_slice(value);
            return;
        }
        let place = (self.items.len() / ALIGN) as u32;
        self.items.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.items.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.items.extend_from_slice(key);
        self.items.extend_from_slice(value);
        self.items.resize(self.items.len().next_multiple_of(ALIGN), 0);
        let at = found.map_or_else(|| self.free(hash), |(at, _)| at);
        self.slots[at] = Slot { tag: Store::tag(hash), place };
    }

    fn free(&self, hash: u64) -> usize {
        let mut at = Store::home(hash);
        while self.slots[at].place != 0 {
            at = (at + 1) & (SLOTS - 1);
        }
        at
    }
}
