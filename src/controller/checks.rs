//! Checks of the table's invariants after polls, for simulated networks.

use std::cell::Cell;

use crate::peer_table::PeerTable;

/// After how many polls a table is checked in full, for each peer that it knows: such a check looks at every peer.
const PEERS_PER_POLL: usize = 16;

thread_local! {
    static IS_ON: Cell<bool> = const { Cell::new(false) };
    /// How many peers may be looked at.
    static CREDIT: Cell<usize> = const { Cell::new(0) };
}

/// While it lives, the controllers that this thread polls check their tables, in builds with debug assertions: the caps
/// after each poll, every index as often as costs a constant time a poll.
#[derive(Debug)]
pub(crate) struct Checks {
    was_on: bool,
}

impl Checks {
    pub(crate) fn start() -> Self {
        CREDIT.set(0);
        Self {
            was_on: IS_ON.replace(cfg!(debug_assertions)),
        }
    }

    /// To be called after a poll of a controller with this table.
    pub(crate) fn after_poll(table: &PeerTable) {
        if !IS_ON.get() {
            return;
        }
        table.check_caps();
        let credit = CREDIT.get() + PEERS_PER_POLL;
        let is_enough = credit >= table.stats().peers.total();
        CREDIT.set(if is_enough { 0 } else { credit });
        if is_enough {
            table.check();
        }
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        IS_ON.set(self.was_on);
    }
}
