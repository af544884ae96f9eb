//! Peers known only by connections of their own.
//!
//! One that is refused for want of room is remembered: so a full node, as many start from, can tell newcomers of each
//! other. It takes no other peer's room, and a globally reachable /24 (/48) has one of them.
//!
//! One that is admitted and never alive has only knocked: others are not told of it, as a host can connect from any
//! address of a network. That ends when it is alive or when a list names it.

use std::net::IpAddr;

use crate::peer::{Peer, PeerId};
use crate::peer_table::PeerTable;
use crate::peer_table::entry::{Entry, Source};
use crate::peer_table::subnet::Subnet;

impl PeerTable {
    /// An inbound socket of a peer that is not known is refused for want of room.
    pub(super) fn remember_refused(&mut self, ip: IpAddr) {
        let has_room = self.peers.counts().idle < self.max_idle();
        let is_second = self.peers.has_refused(Subnet::of_inbound(ip));
        if has_room && !is_second && !self.own.contains(ip) {
            let mut entry = self.new_entry(Peer::new(ip));
            entry.source = Source::Refused;
            self.add(entry);
        }
    }

    /// A peer list names a peer that is known.
    pub(super) fn on_known_listed(&mut self, id: PeerId) {
        if self.peers.is_stranger(id) {
            self.peers.update(id, Entry::on_told);
        }
    }
}
