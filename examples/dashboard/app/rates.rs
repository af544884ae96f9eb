//! Dials and accepts in each of the last seconds.

use std::collections::VecDeque;

use network::Counters;

/// More seconds than a terminal has columns.
const CAPACITY: usize = 512;

/// Dials and accepts a second, newest first.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    pub(crate) dials: VecDeque<u64>,
    pub(crate) accepts: VecDeque<u64>,
    last: Option<Counters>,
}

/// Connections that came in, whether they were refused or not.
pub(crate) fn accepts(counters: &Counters) -> u64 {
    counters.inbound_admitted + counters.inbound_dead + refusals(counters)
}

/// Connections that came in and were refused.
pub(crate) fn refusals(counters: &Counters) -> u64 {
    let refusals = counters.iter().filter(|(name, _)| name.starts_with("refused_"));
    refusals.map(|(_, count)| count).sum()
}

impl Rates {
    /// The counters of now; to be given once a second.
    pub(crate) fn push(&mut self, counters: &Counters) {
        if let Some(last) = self.last.replace(*counters) {
            push(&mut self.dials, counters.dials_started - last.dials_started);
            push(&mut self.accepts, accepts(counters) - accepts(&last));
        }
    }
}

fn push(rates: &mut VecDeque<u64>, rate: u64) {
    rates.truncate(CAPACITY - 1);
    rates.push_front(rate);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_was_counted_since_the_last_second() {
        let mut rates = Rates::default();
        let mut counters = Counters::default();
        counters.dials_started = 7;
        rates.push(&counters);
        assert!(rates.dials.is_empty(), "it is not known in how many seconds");
        counters.dials_started += 3;
        counters.inbound_admitted += 1;
        counters.refused_banned += 1;
        rates.push(&counters);
        rates.push(&counters);
        assert_eq!((&rates.dials, &rates.accepts), (&[0, 3].into(), &[0, 2].into()));
        (0..2 * CAPACITY).for_each(|_| rates.push(&counters));
        assert_eq!(rates.dials.len(), CAPACITY);
    }
}
