//! What the design says of which peer is forgotten, and which ban dropped.

use super::super::known::{network, teller};
use super::*;

impl Model {
    pub(super) fn keep_bounds(&mut self, ip: IpAddr) {
        self.keep_idle_bound(ip);
        self.drop_bans();
    }

    pub(super) fn keep_idle_bound(&mut self, ip: IpAddr) {
        self.note_if_own(ip);
        self.forget_idle(Some(ip));
    }

    pub(super) fn note_if_own(&mut self, ip: IpAddr) {
        if self.peer(ip).is_idle() && (self.peer(ip).own || self.is_own(ip)) {
            if self.peer(ip).from_file || self.peer(ip).reserved {
                self.peer_mut(ip).own = true;
            } else {
                self.forget(ip);
            }
        }
    }

    pub(super) fn forget_idle(&mut self, newcomer: Option<IpAddr>) {
        while self.count(PeerStatus::Idle) > self.config.max_idle_peers {
            let newcomer = newcomer
                .and_then(|ip| self.peers.get(&ip))
                .filter(|peer| peer.is_idle());
            let victims = self.idle_victims(newcomer.map(|peer| peer.ip));
            let own = self.ips(|peer| peer.is_idle() && peer.own && !peer.reserved);
            match newcomer {
                _ if !victims.is_empty() => self.forget_one(&victims),
                Some(newcomer) if !newcomer.reserved => self.forget(newcomer.ip),
                _ if own.is_empty() => break,
                _ => self.forget_one(&own),
            }
        }
    }

    pub(super) fn drop_bans(&mut self) {
        while self.count(PeerStatus::Banned) > self.config.max_banned_peers {
            let banned = self.peers.values().filter(|peer| is_banned(peer));
            let crowds = largest_crowds(banned);
            let quietest = |crowd: &Vec<&Known>| crowd.iter().map(|peer| peer.ban_event).min();
            let mut quietest: Vec<_> = crowds.iter().filter_map(quietest).collect();
            quietest.sort_unstable();
            // Of more than five subnets, five are drawn.
            quietest.truncate(if crowds.len() <= 5 { 1 } else { usize::MAX });
            let victims = self.ips(|peer| is_banned(peer) && quietest.contains(&peer.ban_event));
            self.drop_ban(&victims);
        }
    }

    /// The worst of the subnets that hold most unproven Idle peers; of more than five such, of any five. The newcomer
    /// among them that is as good as the worst of the others wins or loses.
    fn idle_victims(&self, newcomer: Option<IpAddr>) -> Vec<IpAddr> {
        let greedy = self.told_beyond_share();
        if !greedy.is_empty() {
            return greedy;
        }
        let unproven = |peer: &&Known| peer.is_idle() && !peer.own && !peer.reserved && !peer.proven;
        let crowds = largest_crowds(self.peers.values().filter(unproven));
        if crowds.is_empty() {
            let may_go = |peer: &&Known| peer.is_idle() && !peer.own && !peer.reserved;
            let idle = self.peers.values().filter(may_go);
            return idle
                .max_by_key(|peer| peer.key())
                .map(|peer| peer.ip)
                .into_iter()
                .collect();
        }
        let competes = newcomer.filter(|&ip| crowds.iter().flatten().any(|peer| peer.ip == ip));
        let others = |crowd: &Vec<&Known>| {
            let others = crowd.iter().filter(|peer| Some(peer.ip) != newcomer);
            others.max_by_key(|peer| peer.key()).map(|peer| peer.ip)
        };
        let mut worst: Vec<_> = crowds.iter().filter_map(others).collect();
        // Subnets are drawn until five peers are looked at.
        if crowds.len() <= 5 && crowds.iter().map(Vec::len).sum::<usize>() <= 5 {
            worst.sort_by_key(|&ip| std::cmp::Reverse(self.peer(ip).key()));
            worst.truncate(1);
        }
        let Some(newcomer) = competes else {
            return worst;
        };
        let rank = |ip: IpAddr| self.peer(ip).rank();
        let loses = worst.is_empty() || worst.iter().any(|&ip| rank(newcomer) >= rank(ip));
        let mut victims = worst;
        victims.retain(|&ip| rank(newcomer) <= rank(ip));
        victims.extend(loses.then_some(newcomer));
        victims
    }

    /// The untried peers of the tellers that hold most of them, if that is more than the share of one.
    fn told_beyond_share(&self) -> Vec<IpAddr> {
        let mut told: BTreeMap<_, Vec<IpAddr>> = BTreeMap::new();
        for peer in self.peers.values().filter(|peer| peer.is_untried()) {
            if let Some(by) = peer.teller {
                told.entry(teller(by)).or_default().push(peer.ip);
            }
        }
        let most = told.values().map(Vec::len).max().unwrap_or(0);
        let is_greedy = most > self.config.max_idle_peers / SHARE.divisor && most > SHARE.least;
        let largest = told.into_values().filter(|told| is_greedy && told.len() == most);
        largest.flatten().collect()
    }

    fn forget_one(&mut self, victims: &[IpAddr]) {
        let victim = self.script.victim(victims);
        self.forget(victim);
    }

    pub(in super::super) fn forget(&mut self, ip: IpAddr) {
        self.peers.remove(&ip);
    }
}

/// The subnets that hold most of these peers.
pub(super) fn largest_crowds<'a>(peers: impl Iterator<Item = &'a Known>) -> Vec<Vec<&'a Known>> {
    let mut crowds: BTreeMap<_, Vec<&Known>> = BTreeMap::new();
    peers.for_each(|peer| crowds.entry(network(peer.ip)).or_default().push(peer));
    let most = crowds.values().map(Vec::len).max();
    crowds.into_values().filter(|crowd| Some(crowd.len()) == most).collect()
}
