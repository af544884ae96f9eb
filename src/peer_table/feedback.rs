//! What the application reports of connections: alive, failed, closed.

use std::net::IpAddr;
use std::time::Duration;

use crate::change::{Cause, Reporter};
use crate::peer::{ConnectionId, PeerId, PeerStatus};
use crate::peer_table::entry::Entry;
use crate::peer_table::time::Now;
use crate::peer_table::{Action, PeerTable};

/// What is reported of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It gave a sign of life.
    Alive,
    /// Its handshake failed, or its connection ended unexpectedly.
    Failed,
    /// Its connection was closed cleanly.
    Closed,
    /// It misbehaved.
    Banned,
    /// It misbehaved, and is banned for this long.
    BannedFor(Duration),
    /// It is banned no more.
    Unbanned,
    /// It is this node itself.
    Ourselves,
    /// A connection with it is to be kept from now on.
    Reserve,
    /// It is reserved no more.
    Release,
    /// It is to be dialed once.
    Dial,
}

impl Report {
    pub(crate) fn is_ban(self) -> bool {
        matches!(self, Self::Banned | Self::BannedFor(_))
    }
}

impl PeerTable {
    /// A report about a peer and the connection that it had when the report was made, if any. Once that connection is
    /// over, only a ban counts, and the end of one.
    pub fn on_report(&mut self, now: Now, ip: IpAddr, connection: Option<ConnectionId>, report: Report) {
        let ip = ip.to_canonical();
        let current = connection.and_then(|connection| self.peer_of(connection));
        match (report, current) {
            (Report::Banned, _) => self.ban(now, ip, None),
            (Report::BannedFor(term), _) => self.ban(now, ip, Some(term)),
            (Report::Unbanned, _) => self.unban(ip),
            (Report::Ourselves, _) => self.on_ourselves(now, ip),
            (Report::Reserve, _) => self.reserve(now, ip),
            (Report::Release, _) => self.release(ip),
            (Report::Dial, _) => self.want_dial(ip),
            (Report::Alive | Report::Failed | Report::Closed, Some(id)) => {
                self.on_connection_report(now, id, report);
            }
            (Report::Failed, None) if connection.is_none() => self.on_idle_failure(now, ip),
            (Report::Alive | Report::Failed | Report::Closed, None) => self.counters.feedback_stale += 1,
        }
    }

    /// The same, with how the application said so.
    pub fn on_report_by(
        &mut self,
        reporter: Reporter,
        now: Now,
        ip: IpAddr,
        connection: Option<ConnectionId>,
        report: Report,
    ) {
        self.reporter = reporter;
        self.on_report(now, ip, connection, report);
        self.reporter = Reporter::default();
    }

    /// The peer's dial or connection is over: it becomes Idle or Banned as `edit` leaves it, and what waited for the
    /// outcome is settled.
    pub(super) fn end_connection(&mut self, now: Now, id: PeerId, cause: Cause, edit: impl FnOnce(&mut Entry)) {
        self.judge_outage(now);
        let connection = self.connection_of(id);
        let was = self.transition(id, cause, |entry| {
            let was = std::mem::replace(&mut entry.peer.status, PeerStatus::Idle);
            (entry.connection, entry.local_port, entry.is_leased) = (None, None, false);
            entry.is_beside_target = false;
            edit(entry);
            was
        });
        if let Some(connection) = connection {
            if was.is_connected() {
                self.actions.push_back(Action::Ended(connection, cause.revocation()));
            } else {
                self.settle_maybe_self(connection);
            }
        }
        self.settle_crossing(id);
        self.begin_outage(now);
        self.keep_bounds(id);
    }

    /// The connection failed, by report or by its deadline.
    pub(super) fn fail_connection(&mut self, now: Now, id: PeerId, cause: Cause) {
        let entry = self.peers.get(id);
        if !entry.is_outgoing() {
            // When the peer is dialed next does not change: a pause that stood before stands.
            return self.end_connection(now, id, cause, |entry| entry.on_failure(now.utc));
        }
        // Our connection that the other end gave up for its own, as the lower address has it, is no failure to connect.
        let is_crossed = self.parking.crossing(id, entry.peer.ip).is_some();
        let is_outage = self.is_outage(now);
        let streak = entry.peer.failures_in_row;
        let (pause, short_in_row) = if is_outage {
            (self.pause_in_outage(id), entry.short_in_row)
        } else {
            let backoff = self.backoff(streak.saturating_add(u32::from(!is_crossed)));
            let (least, short_in_row) = self.pause_after_end(now, id);
            (backoff.max(least), short_in_row)
        };
        let paused_until = self.pause_until(now, id, pause);
        self.end_connection(now, id, cause, |entry| {
            entry.short_in_row = short_in_row;
            entry.paused_until = Some(paused_until);
            entry.on_failure(now.utc);
            entry.note_outage_failure(is_outage);
            if !is_crossed && !is_outage {
                entry.lengthen_streak(now.utc);
            }
        });
    }

    fn on_connection_report(&mut self, now: Now, id: PeerId, report: Report) {
        if !self.peers.get(id).peer.status.is_connected() {
            self.counters.feedback_stale += 1;
            return;
        }
        match report {
            Report::Alive => self.on_alive(now, id),
            Report::Failed => self.fail_connection(now, id, Cause::Failed(self.reporter)),
            Report::Closed
            | Report::Banned
            | Report::BannedFor(_)
            | Report::Unbanned
            | Report::Ourselves
            | Report::Reserve
            | Report::Release
            | Report::Dial => self.close_connection(now, id, Cause::Closed(self.reporter)),
        }
    }

    fn on_alive(&mut self, now: Now, id: PeerId) {
        let was = self.transition(id, Cause::Alive, |entry| {
            let was = entry.peer.status;
            entry.on_alive(now);
            if entry.is_outgoing() {
                entry.failures_in_outage = 0;
            }
            was
        });
        if matches!(was, PeerStatus::OutHandshaking | PeerStatus::InHandshaking) {
            self.counters.handshakes_succeeded += 1;
        }
        if was == PeerStatus::OutHandshaking {
            self.finish_rotation(now, id);
        }
    }

    pub(super) fn close_connection(&mut self, now: Now, id: PeerId, cause: Cause) {
        if !self.peers.get(id).is_outgoing() {
            return self.end_connection(now, id, cause, |_| {});
        }
        let (pause, short_in_row) = self.pause_after_end(now, id);
        let paused_until = self.pause_until(now, id, pause);
        self.end_connection(now, id, cause, |entry| {
            entry.short_in_row = short_in_row;
            entry.has_ended = true;
            entry.paused_until = Some(paused_until);
            entry.failures_in_outage = 0;
        });
    }

    fn on_idle_failure(&mut self, now: Now, ip: IpAddr) {
        match self.peers.id_of(ip) {
            Some(id) if self.peers.get(id).peer.status == PeerStatus::Idle => {
                self.peers.update(id, |entry| entry.on_failure(now.utc));
            }
            _ => self.counters.feedback_stale += 1,
        }
    }
}
