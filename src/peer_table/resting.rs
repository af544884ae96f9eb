//! Who failed or was closed last: in an outage they are left alone for a while, and then taken in turn.

use std::time::Duration;

use crate::peer_table::slots::PeerId;

/// How many peers are remembered.
const ROOM: usize = 16;

/// Each once, with the time until which it rests; who came first stands first.
#[derive(Debug, Default)]
pub(crate) struct Resting {
    ids: [Option<PeerId>; ROOM],
    until: [Duration; ROOM],
    len: usize,
}

impl Resting {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, Duration)> {
        let ids = self.ids.iter().flatten().copied();
        ids.zip(self.until.iter().copied())
    }

    pub(crate) fn contains(&self, id: PeerId) -> bool {
        // All are compared, so that it is done for several at once: this is asked with every peer that is forgotten.
        self.ids.iter().fold(false, |found, other| found | (*other == Some(id)))
    }

    /// Adds a peer behind all others, in place of the first if there is no room.
    pub(crate) fn push(&mut self, id: PeerId, until: Duration) {
        self.remove(id);
        if self.len == ROOM {
            self.remove_at(0);
        }
        self.ids[self.len] = Some(id);
        self.until[self.len] = until;
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, id: PeerId) {
        if self.contains(id)
            && let Some(place) = self.ids.iter().position(|&other| other == Some(id))
        {
            self.remove_at(place);
        }
    }

    fn remove_at(&mut self, place: usize) {
        self.ids.copy_within(place + 1.., place);
        self.until.copy_within(place + 1.., place);
        self.ids[ROOM - 1] = None;
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn id(number: u32) -> PeerId {
        PeerId::numbered(NonZeroU32::new(number).unwrap())
    }

    fn ids(resting: &Resting) -> Vec<u32> {
        let pairs = resting.iter().inspect(|&(id, until)| {
            assert!(resting.contains(id));
            assert_eq!(
                until,
                Duration::from_secs(u64::from(id.number().get())),
                "each has its own time"
            );
        });
        pairs.map(|(id, _)| id.number().get()).collect()
    }

    #[test]
    fn the_last_sixteen_stand_in_their_order() {
        let mut resting = Resting::default();
        let mut push = |number: u32| {
            resting.push(id(number), Duration::from_secs(u64::from(number)));
            ids(&resting)
        };
        (1..=16).for_each(|number| drop(push(number)));
        assert_eq!(push(3), [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 3]);
        assert_eq!(push(17), [2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 3, 17]);
        resting.remove(id(9));
        resting.remove(id(1));
        assert_eq!(ids(&resting), [2, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 3, 17]);
        assert!(!resting.contains(id(9)));
    }
}
