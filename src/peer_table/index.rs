//! The way from an address to its peer, in the order of a keyed hash of the address, the tie.
//!
//! Open addressing with linear probing, where who has the smaller tie stands first (an ordered hash table, after Amble
//! and Knuth, 1974): a search ends at the first greater tie, and going through the seats from first to last is going
//! through all peers by their tie. Peers that were never tried have no other order than that, so they need no place
//! elsewhere, just a tally of where some of them are.

use std::ops::Range;

use crate::peer_table::slots::PeerId;
use crate::peer_table::tally::Tally;

/// Peers that were never tried are tallied by so many places.
const REGION_BITS: u32 = 4;
const LEAST_BITS: u32 = 5;
/// For so many seats behind the last place there is room from the start.
const OVERFLOW: usize = 64;
/// How many such regions are gone through at once.
const REGIONS: usize = 8;

/// How many seats are gone through at once at most.
pub(crate) const SEATS: usize = REGIONS << REGION_BITS;

/// At most three quarters full. Ties are keyed, so nobody outside can crowd a place.
#[derive(Debug)]
pub(crate) struct Index {
    /// `1 << bits` places, and behind them whoever found no room before the end; the last is always empty.
    seats: Vec<Seat>,
    bits: u32,
    untried: Tally,
}

/// With the tie beside the id, a search touches hardly any peer but the one that it finds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seat {
    pub(crate) id: Option<PeerId>,
    pub(crate) tie: u32,
}

impl Index {
    /// Makes room for one more beside `len` others. `is_untried` is asked of all of them if that takes a larger table.
    pub(crate) fn reserve(&mut self, len: usize, is_untried: impl Fn(PeerId) -> bool) {
        if (len + 1) * 4 <= (3 << self.bits) {
            return;
        }
        let mut larger = Self::with_bits(self.bits + 1);
        for seat in &self.seats {
            if let Some(id) = seat.id {
                larger.insert(seat.tie, id);
                if is_untried(id) {
                    larger.tally_untried(seat.tie, true);
                }
            }
        }
        *self = larger;
    }

    pub(crate) fn find(&self, tie: u32, mut is_it: impl FnMut(PeerId) -> bool) -> Option<PeerId> {
        for seat in &self.seats[self.home(tie)..] {
            let id = seat.id?;
            if seat.tie >= tie {
                if seat.tie > tie {
                    return None;
                }
                if is_it(id) {
                    return Some(id);
                }
            }
        }
        None
    }

    pub(crate) fn insert(&mut self, tie: u32, id: PeerId) {
        let mut place = self.home(tie);
        let mut carried = Seat { id: Some(id), tie };
        while self.seats[place].id.is_some() {
            let seat = &mut self.seats[place];
            if (carried.tie, carried.id) < (seat.tie, seat.id) {
                std::mem::swap(seat, &mut carried);
            }
            place += 1;
        }
        self.seats[place] = carried;
        if place + 1 == self.seats.len() {
            // In place, or a single seat more would take a second table.
            self.seats.reserve_exact(OVERFLOW);
            self.seats.push(Seat::default());
        }
    }

    /// Takes an id out and moves those behind it up, as far as they are not where they belong.
    pub(crate) fn remove(&mut self, tie: u32, id: PeerId) {
        let mut gap = self.home(tie);
        while self.seats[gap].id != Some(id) {
            gap += 1;
        }
        loop {
            let next = self.seats[gap + 1];
            if next.id.is_none() || self.home(next.tie) > gap {
                break;
            }
            self.seats[gap] = next;
            gap += 1;
        }
        self.seats[gap] = Seat::default();
    }

    /// One more or one fewer peer with such a tie was never tried.
    pub(crate) fn tally_untried(&mut self, tie: u32, is_more: bool) {
        self.untried.change(self.home(tie) >> REGION_BITS, is_more);
    }

    /// The places from this one on where those are who were never tried, up to a few regions of them. Others have seats
    /// there too, and sometimes only others: who found no room at home has a seat behind the region that counts it, and
    /// is then come upon one seat at a time.
    pub(crate) fn untried_from(&self, place: usize) -> Option<Range<usize>> {
        let seat = self.seats.get(place)?;
        // Who has a seat here may have its home before.
        let home = seat.id.map_or(place, |_| self.home(seat.tie));
        let region = self.untried.next_from(home >> REGION_BITS)?;
        let regions = (region..region + REGIONS).take_while(|&region| self.untried.next_from(region) == Some(region));
        let start = place.max(region << REGION_BITS);
        let end = (region + regions.count()) << REGION_BITS;
        Some(start..end.max(start + 1).min(self.seats.len()))
    }

    pub(crate) fn seats(&self, places: Range<usize>) -> &[Seat] {
        &self.seats[places]
    }

    fn with_bits(bits: u32) -> Self {
        Self {
            seats: empty_seats((1 << bits) + 1),
            bits,
            untried: Tally::new(1 << (bits - REGION_BITS)),
        }
    }

    fn home(&self, tie: u32) -> usize {
        usize::try_from(tie >> (u32::BITS - self.bits)).unwrap_or(0)
    }
}

impl Default for Index {
    fn default() -> Self {
        Self::with_bits(LEAST_BITS)
    }
}

fn empty_seats(len: usize) -> Vec<Seat> {
    let mut seats = Vec::with_capacity(len + OVERFLOW);
    seats.resize(len, Seat::default());
    seats
}

#[cfg(any(test, feature = "internals"))]
impl Index {
    /// Panics unless the seats are in order, each as near its home as it may be, and the tally is right.
    pub(crate) fn check(&self, is_untried: impl Fn(PeerId) -> bool) {
        let mut tally = Tally::new(1 << (self.bits - REGION_BITS));
        let mut last = None;
        for (place, seat) in self.seats.iter().enumerate() {
            let Some(id) = seat.id else { continue };
            assert!(self.home(seat.tie) <= place && last < Some((seat.tie, id)));
            assert!(
                self.seats[self.home(seat.tie)..place]
                    .iter()
                    .all(|before| before.id.is_some())
            );
            last = Some((seat.tie, id));
            if is_untried(id) {
                tally.change(self.home(seat.tie) >> REGION_BITS, true);
            }
        }
        assert_eq!(self.untried, tally);
        assert!(self.seats.last().is_some_and(|last| last.id.is_none()));
    }
}

/// Of an address and where it stands.
#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn id(number: u32) -> PeerId {
        PeerId::numbered(NonZeroU32::new(number).unwrap())
    }

    /// Ties that crowd both ends and some places between, a few of them equal.
    fn ties() -> Vec<u32> {
        let crowded = [0, 1 << 27, u32::MAX - 20];
        let spread = (0..40_u32).map(|number| number.wrapping_mul(0x9E37_79B9));
        let equal = [1 << 30; 5];
        let crowded = crowded.into_iter().flat_map(|from| from..from + 20);
        // Greater ids come first.
        crowded.chain(spread).chain(equal).rev().collect()
    }

    #[test]
    fn whatever_comes_and_goes_is_found_and_in_order() {
        let is_untried = |id: PeerId| id.number().get().is_multiple_of(3);
        let mut index = Index::default();
        let peers: Vec<_> = ties().into_iter().zip((1..200).rev().map(id)).collect();
        for (len, &(tie, id)) in peers.iter().enumerate() {
            index.reserve(len, is_untried);
            index.insert(tie, id);
            if is_untried(id) {
                index.tally_untried(tie, true);
            }
            index.check(is_untried);
        }
        for &(tie, id) in &peers {
            assert_eq!(index.find(tie, |found| found == id), Some(id));
            assert_eq!(index.find(tie, |_| false), None);
        }
        let mut untried: Vec<_> = peers.iter().filter(|(_, id)| is_untried(*id)).copied().collect();
        untried.sort_unstable();
        let (mut place, mut found) = (0, Vec::new());
        while let Some(places) = index.untried_from(place) {
            place = places.end;
            let ids = index.seats(places).iter().filter_map(|seat| seat.id);
            found.extend(ids.filter(|&id| is_untried(id)));
        }
        assert_eq!(found, untried.iter().map(|&(_, id)| id).collect::<Vec<_>>());
        for &(tie, id) in &peers {
            index.remove(tie, id);
            if is_untried(id) {
                index.tally_untried(tie, false);
            }
            assert_eq!(index.find(tie, |found| found == id), None);
            index.check(is_untried);
        }
        assert!(index.untried_from(0).is_none());
    }
}
