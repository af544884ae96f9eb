//! Where the few peers have what most have not. Places are used again, the last one left first, so that the few that
//! come and go stay in the cache and nothing is allocated for them.

use std::num::NonZeroU32;

use crate::peer_table::entry::Rare;
use crate::peer_table::seats::index;

/// Names a place among the [`Rares`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RareId(NonZeroU32);

#[derive(Debug)]
pub(crate) struct Rares {
    /// The first is what is ordinary.
    rares: Vec<Rare>,
    free: Vec<RareId>,
}

impl Rares {
    pub(crate) fn get(&self, id: Option<RareId>) -> &Rare {
        &self.rares[id.map_or(0, RareId::place)]
    }

    pub(crate) fn get_mut(&mut self, id: RareId) -> &mut Rare {
        &mut self.rares[id.place()]
    }

    pub(crate) fn add(&mut self) -> RareId {
        self.free.pop().unwrap_or_else(|| {
            let place = u32::try_from(self.rares.len()).ok().and_then(NonZeroU32::new);
            self.rares.push(Rare::default());
            RareId(place.expect("memory ends before 2^32 peers"))
        })
    }

    pub(crate) fn remove(&mut self, id: RareId) {
        self.rares[id.place()] = Rare::default();
        self.free.push(id);
    }

    /// Removes what is ordinary again.
    pub(crate) fn remove_ordinary(&mut self, id: RareId) {
        debug_assert!(self.rares[id.place()].is_ordinary());
        self.free.push(id);
    }

    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn len(&self) -> usize {
        self.rares.len() - 1 - self.free.len()
    }
}

impl Default for Rares {
    fn default() -> Self {
        Self {
            rares: vec![Rare::default()],
            free: Vec::new(),
        }
    }
}

impl RareId {
    fn place(self) -> usize {
        index(self.0.get())
    }
}
