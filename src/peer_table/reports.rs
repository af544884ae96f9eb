//! What the application reports of peers: alive, failed, banned, closed, unbanned.

use std::net::IpAddr;

use crate::peer::{ConnectionId, Peer, PeerStatus, is_peer_address};
use crate::peer_table::entry::{Moment, is_outgoing};
use crate::peer_table::{Action, Now, PeerId, PeerTable};

/// What is reported of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    Alive,
    Failed,
    Closed,
    Banned,
    Unbanned,
}

impl PeerTable {
    /// A report about one connection of the peer: once that is over, only bans and unbans count. Or, without a
    /// connection, about a peer that had none when it was made: bans, unbans, and the failure of an Idle peer count.
    pub(crate) fn on_report(&mut self, now: Now, ip: IpAddr, connection: Option<ConnectionId>, report: Report) {
        let ip = ip.to_canonical();
        let id = match connection {
            Some(connection) => self.connections.get(&connection).copied(),
            None => self.id_of(ip),
        };
        let is_idle = |id| self.slots.peer(id).status == PeerStatus::Idle;
        match (report, id) {
            (Report::Banned, _) => self.ban(now, ip),
            (Report::Unbanned, _) => self.unban(ip),
            (_, Some(id)) if connection.is_some() => self.on_connection_report(now, id, report),
            (Report::Failed, Some(id)) if is_idle(id) => self.change(id, |entry| entry.on_failure(now.utc)),
            (Report::Alive | Report::Failed | Report::Closed, _) => self.counters.feedback_stale += 1,
        }
    }

    pub(super) fn lift_ban(&mut self, id: PeerId) {
        self.change(id, |entry| {
            entry.set_status(PeerStatus::Idle);
            entry.set_banned_at(None);
            let rare = entry.rare_mut();
            rare.deadline = None;
            (rare.last_event, rare.listed_event) = (0, 0);
        });
        self.keep_bounds(id);
    }

    /// The connection failed, by report or by its deadline.
    pub(super) fn fail_connection(&mut self, now: Now, id: PeerId) {
        self.rest(now, id);
        let entry = self.slots.get(id);
        let (outgoing, ip) = (entry.is_outgoing(), entry.peer.ip);
        // A connection of ours that the other end gave up for its own, as the lower address has it, is no failure in
        // the making of connections.
        let counts = outgoing && self.parking.crossing(ip).is_none();
        let streak = entry.peer.failures_in_row.saturating_add(u32::from(counts));
        let pause = self.backoff(streak);
        self.end_connection(id, |entry| {
            entry.pause_until(Some(now.after(pause)));
            entry.on_failure(now.utc);
            if counts {
                entry.lengthen_streak(now.utc);
            }
        });
    }

    fn on_connection_report(&mut self, now: Now, id: PeerId, report: Report) {
        let status = self.slots.peer(id).status;
        match report {
            Report::Alive if status.is_connected() => self.on_alive(now, id),
            Report::Failed if status.is_connected() => self.fail_connection(now, id),
            Report::Closed if status.is_connected() => self.close_connection(now, id),
            Report::Alive | Report::Failed | Report::Closed | Report::Banned | Report::Unbanned => {
                self.counters.feedback_stale += 1;
            }
        }
    }

    fn on_alive(&mut self, now: Now, id: PeerId) {
        if is_outgoing(self.slots.peer(id).status) && self.is_outage() {
            self.end_outage();
        }
        let was = self.change(id, |entry| {
            let was = entry.peer().status;
            entry.on_alive(now.utc);
            entry.rare_mut().deadline = None;
            entry.set_status(if is_outgoing(was) {
                PeerStatus::OutAlive
            } else {
                PeerStatus::InAlive
            });
            was
        });
        if matches!(was, PeerStatus::OutHandshaking | PeerStatus::InHandshaking) {
            self.counters.handshakes_succeeded += 1;
        }
    }

    fn close_connection(&mut self, now: Now, id: PeerId) {
        self.rest(now, id);
        let pause = self.backoff(1);
        self.end_connection(id, |entry| entry.pause_until(Some(now.after(pause))));
    }

    fn ban(&mut self, now: Now, ip: IpAddr) {
        if !self.may_be_banned(ip) {
            self.counters.feedback_stale += 1;
            return self.end_banned_own(ip);
        }
        self.counters.bans_set += 1;
        self.last_event += 1;
        let event = self.last_event;
        let deadline = self.config.ban_duration.map(|duration| Moment::of(now.after(duration)));
        let id = self.id_of(ip).unwrap_or_else(|| self.add_banned(ip));
        if self.slots.peer(id).status == PeerStatus::OutConnecting {
            self.counters.dials_called_off += 1;
            self.actions
                .extend(self.slots.get(id).connection().map(Action::CallOff));
        }
        self.end_connection(id, |entry| {
            entry.set_status(PeerStatus::Banned);
            entry.on_failure(now.utc);
            entry.pause_until(None);
            entry.set_banned_at(Some(now.utc));
            let rare = entry.rare_mut();
            rare.deadline = deadline;
            (rare.last_event, rare.listed_event) = (event, event);
        });
    }

    fn may_be_banned(&self, ip: IpAddr) -> bool {
        is_peer_address(ip) && !self.own.contains(ip)
    }

    /// An own address is never stored, so not as banned either; its connection ends all the same.
    fn end_banned_own(&mut self, ip: IpAddr) {
        if let Some(id) = self.id_of(ip)
            && self.slots.peer(id).status.is_connected()
        {
            self.end_connection(id, |_| {});
        }
    }

    fn add_banned(&mut self, ip: IpAddr) -> PeerId {
        self.add(Peer::new(ip), |entry| entry.set_status(PeerStatus::Banned))
    }

    fn unban(&mut self, ip: IpAddr) {
        match self.id_of(ip) {
            Some(id) if self.slots.peer(id).status == PeerStatus::Banned => self.lift_ban(id),
            _ => self.counters.feedback_stale += 1,
        }
    }
}
