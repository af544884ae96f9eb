//! Feature `tracing`: what happens, as events of the target `network`. (Errors of accepts are traced in `listener`.)
//!
//! | level | what |
//! |---|---|
//! | warn | faults of this host: a dial or accept that it could not make, a dump that failed |
//! | info | a peer is alive, its connection ended, it was banned, its ban ended |
//! | debug | dials and candidates, a dump that was written |
//! | trace | refused connections, peers that became known or were forgotten |

use tracing::level_filters::LevelFilter;
use tracing::{debug, info, trace, warn};

use crate::change::{Cause, Change, ChangeKind};
use crate::peer_file::PeerFileError;

/// How many changes one poll can trace; of more, the oldest are lost, and their number is traced.
const MOST_PER_POLL: usize = 4_096;

/// How many changes the table must keep for this.
pub(super) fn capacity() -> usize {
    if LevelFilter::current() == LevelFilter::OFF {
        0
    } else {
        MOST_PER_POLL
    }
}

pub(super) fn on_dropped(dropped: u64) {
    if dropped > 0 {
        debug!(target: "network", dropped, "too many changes to trace them all");
    }
}

pub(super) fn on_change(change: &Change) {
    let (ip, kind) = (change.ip, change.kind);
    let ChangeKind::Status { to, cause, .. } = kind else {
        trace!(target: "network", %ip, "{change}");
        return;
    };
    match cause {
        Cause::DialHostFault(_) => warn!(target: "network", %ip, %to, %cause, "{change}"),
        Cause::Alive
        | Cause::Failed(_)
        | Cause::Closed(_)
        | Cause::HandshakeTimedOut
        | Cause::Rotated
        | Cause::Evicted
        | Cause::Banned(_)
        | Cause::Unbanned
        | Cause::BanEnded
        | Cause::BanDropped
        | Cause::Denied
        | Cause::Ourselves => info!(target: "network", %ip, %to, %cause, "{change}"),
        Cause::Dialed
        | Cause::DialSucceeded
        | Cause::DialFailed(_)
        | Cause::DialUnroutable(_)
        | Cause::TargetMet
        | Cause::CameIn
        | Cause::Admitted => debug!(target: "network", %ip, %to, %cause, "{change}"),
    }
}

pub(super) fn on_dump(result: &Result<(), PeerFileError>) {
    match result {
        Ok(()) => debug!(target: "network", "the peer file was dumped"),
        Err(error) => warn!(target: "network", %error, "the peer file could not be dumped"),
    }
}
