//! How many there are at each of many places, so that places without any are passed by in one step.

/// A place is counted with 63 others, and those with 63 other such, as often as it takes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Of single places first; the last level has no more than [`FAN`].
    levels: Vec<Vec<u32>>,
}

const FAN: usize = 64;

impl Tally {
    pub(crate) fn new(places: usize) -> Self {
        let mut levels = vec![vec![0; places]];
        let mut len = places;
        while len > FAN {
            len = len.div_ceil(FAN);
            levels.push(vec![0; len]);
        }
        Self { levels }
    }

    pub(crate) fn change(&mut self, mut place: usize, is_more: bool) {
        for level in &mut self.levels {
            let count = &mut level[place];
            *count = if is_more { *count + 1 } else { *count - 1 };
            place /= FAN;
        }
    }

    /// The first place from this one on where there is one.
    pub(crate) fn next_from(&self, place: usize) -> Option<usize> {
        self.next_at(0, place)
    }

    fn next_at(&self, level: usize, place: usize) -> Option<usize> {
        let counts = self.levels.get(level)?;
        let group_end = ((place / FAN + 1) * FAN).min(counts.len());
        let first = |from: usize, to: usize| (from..to).find(|&place| counts[place] > 0);
        if let Some(found) = first(place.min(group_end), group_end) {
            return Some(found);
        }
        let group = self.next_at(level + 1, place / FAN + 1)?;
        first(group * FAN, ((group + 1) * FAN).min(counts.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_is_found_from_everywhere() {
        for places in [1, 2, 63, 64, 65, 4_096, 4_097, 300_000] {
            let mut tally = Tally::new(places);
            assert_eq!(tally.next_from(0), None);
            let mut held: Vec<_> = [0, 1, 62, 63, 64, 4_095, 4_096, 299_999]
                .into_iter()
                .filter(|&at| at < places)
                .collect();
            held.iter().for_each(|&place| tally.change(place, true));
            tally.change(held[0], true);
            while let Some(last) = held.pop() {
                for from in [
                    0,
                    1,
                    60,
                    63,
                    64,
                    65,
                    4_000,
                    4_096,
                    4_097,
                    250_000,
                    299_999,
                    300_000,
                    usize::MAX / 2,
                ] {
                    let next = held.iter().chain([&last]).find(|&&place| place >= from);
                    assert_eq!(tally.next_from(from), next.copied(), "{places} places, from {from}");
                }
                tally.change(last, false);
            }
            tally.change(0, false);
            assert_eq!(tally, Tally::new(places));
        }
    }
}
