//! `touch`: a new expiry time.
//!
//! Owns what happens if the item's layout has no room for the time. Called through [`Verbs`] by every protocol.

use super::watch_events::LookupNotice;
use super::{Done, Key, Verbs};
use crate::clock::Expiry;
use crate::hotkeys::AccessKind;
use crate::store::{Entry, Lookup, Relayout};

impl Verbs<'_> {
    /// `touch`: sets a new expiry time.
    pub fn touch(&self, key: &Key<'_>, expiry: Expiry) -> Done {
        let hit = self.look(key, AccessKind::Write, Some(expiry), |_| ());
        self.count_fetch(true, hit.as_ref().map(|(_, place)| *place));
        if hit.is_some() { Done::Done } else { Done::NotFound }
    }

    /// Visits the item of `key`. If its layout has no room for expiry time `touch`, rewrites the item first; if there
    /// is no memory for that, visits it as it is: [`Entry::set_expiry_nearly`] then sets the nearest time that it can
    /// hold.
    #[inline]
    pub(super) fn visit_with_room<R>(
        &self,
        key: &Key<'_>,
        touch: Option<Expiry>,
        notice: &mut LookupNotice,
        mut visit: impl FnMut(&mut Entry) -> R,
    ) -> Lookup<R> {
        let mut no_room = false;
        loop {
            let found = self
                .visit_once(key, notice, |entry| (no_room || entry.has_room(touch, self.now)).then(|| visit(entry)));
            match found {
                Lookup::Hit(Some(shown)) => return Lookup::Hit(shown),
                Lookup::Hit(None) => {
                    let room = self.cache.store.make_room(key, touch, false, self.now);
                    no_room = room == Relayout::NoMemory;
                }
                Lookup::Miss => return Lookup::Miss,
                Lookup::Dead(dead) => return Lookup::Dead(dead),
            }
        }
    }
}
