//! Looks for hosts that hold two connections with each other.

use std::collections::BTreeMap;
use std::time::Duration;

use super::connection::{Connections, End};
use super::wire::HostState;

/// In builds with debug assertions: no two hosts hold two connections with each other for long, as each controller
/// allows one a peer, and where two dials cross both ends keep the same one.
#[derive(Debug)]
pub(super) struct Agreement {
    is_wanted: bool,
    is_running: bool,
    /// Pairs of hosts with two connections, and since when.
    doubles: BTreeMap<(usize, usize), Duration>,
}

/// Two connections may live side by side until a handshake has timed out.
const TOLERATED: Duration = Duration::from_secs(20);

impl Agreement {
    pub(super) const PERIOD: Duration = Duration::from_secs(1);

    pub(super) fn set_wanted(&mut self, is_wanted: bool) {
        self.is_wanted = is_wanted;
    }

    /// Whether checks are to be planned from now on.
    pub(super) fn start(&mut self) -> bool {
        let starts = self.is_wanted && !self.is_running;
        self.is_running |= starts;
        starts
    }

    /// Panics if two hosts have held two connections for too long. Answers whether to check again.
    pub(super) fn check(&mut self, now: Duration, hosts: &[HostState], connections: &Connections) -> bool {
        let mut counts = BTreeMap::<_, u32>::new();
        for (_, [dialer, listener]) in connections.iter().filter(|(_, ends)| ends.iter().all(End::is_open)) {
            let pair = (dialer.host.min(listener.host), dialer.host.max(listener.host));
            *counts.entry(pair).or_default() += 1;
        }
        self.is_running = self.is_wanted && !counts.is_empty();
        counts.retain(|_, count| *count > 1);
        self.doubles.retain(|pair, _| counts.contains_key(pair));
        for &pair in counts.keys() {
            let since = *self.doubles.entry(pair).or_insert(now);
            let (a, b) = (hosts[pair.0].ip, hosts[pair.1].ip);
            assert!(
                now - since < TOLERATED,
                "{a} and {b} hold two connections with each other since {since:?}, now it is {now:?}"
            );
        }
        self.is_running
    }
}

impl Default for Agreement {
    fn default() -> Self {
        Self {
            is_wanted: cfg!(debug_assertions),
            is_running: false,
            doubles: BTreeMap::new(),
        }
    }
}
