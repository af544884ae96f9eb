//! Which peer told of the peers that were never tried, so that none can fill the list with addresses that it made up.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::peer::PeerId;
use crate::peer_table::bag::{Bag, Numbered, Positions};
use crate::peer_table::random::Random;
use crate::peer_table::subnet::{Subnet, is_global};

/// The source of told peers. All of one network count as one, as they may be one party's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Teller {
    Network(Subnet),
    /// An address that is not globally reachable counts by itself: a LAN is not one party's.
    Address(IpAddr),
}

/// Names a teller for as long as there are peers that it told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TellerId(u32);

/// The Idle peers that were never tried, by the peer that told of them first, where that is known.
#[derive(Debug, Default)]
pub(crate) struct Tellers {
    ids: HashMap<Teller, TellerId>,
    told: Vec<Told>,
    free: Vec<TellerId>,
    /// Each teller that there is, with the number of its peers.
    by_size: BTreeSet<(usize, TellerId)>,
    /// The teller of each peer. A peer has a slot here only once one with as high an id has a teller.
    tellers: Vec<Option<TellerId>>,
    positions: Positions,
}

/// What one teller told of.
#[derive(Debug)]
struct Told {
    teller: Teller,
    peers: Bag<PeerId>,
}

impl Numbered for TellerId {
    fn number(self) -> usize {
        self.0.try_into().unwrap_or(usize::MAX)
    }
}

impl Teller {
    pub(crate) fn at(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        if is_global(ip) {
            Self::Network(Subnet::of(ip))
        } else {
            Self::Address(ip)
        }
    }
}

impl Tellers {
    /// How many peers the teller holds that holds most.
    pub(crate) fn most(&self) -> usize {
        self.by_size.last().map_or(0, |&(size, _)| size)
    }

    /// One of the peers of the teller that holds most, by lot.
    pub(crate) fn draw_of_largest(&self, random: &mut Random) -> Option<PeerId> {
        let &(size, largest) = self.by_size.last()?;
        Some(self.told[largest.number()].peers.members()[random.below(size)])
    }

    /// The teller told of a peer that has none.
    pub(crate) fn join(&mut self, peer: PeerId, teller: Teller) {
        let id = self.id_of(teller);
        if self.tellers.len() <= peer.number() {
            self.tellers.resize(peer.number() + 1, None);
        }
        debug_assert_eq!(self.tellers[peer.number()], None);
        self.tellers[peer.number()] = Some(id);
        let peers = &mut self.told[id.number()].peers;
        self.by_size.remove(&(peers.len(), id));
        peers.insert(peer, &mut self.positions);
        self.by_size.insert((peers.len(), id));
    }

    /// The peer is not Idle any more, was tried, or is forgotten. It may have no teller.
    pub(crate) fn leave(&mut self, peer: PeerId) {
        let Some(id) = self.tellers.get_mut(peer.number()).and_then(Option::take) else {
            return;
        };
        let Told { teller, peers } = &mut self.told[id.number()];
        self.by_size.remove(&(peers.len(), id));
        peers.remove(peer, &mut self.positions);
        if peers.is_empty() {
            self.ids.remove(teller);
            self.free.push(id);
        } else {
            self.by_size.insert((peers.len(), id));
        }
    }

    fn id_of(&mut self, teller: Teller) -> TellerId {
        *self.ids.entry(teller).or_insert_with(|| match self.free.pop() {
            Some(id) => {
                self.told[id.number()].teller = teller;
                id
            }
            None => {
                let peers = Bag::default();
                self.told.push(Told { teller, peers });
                TellerId(u32::try_from(self.told.len() - 1).unwrap_or(u32::MAX))
            }
        })
    }

    #[cfg(test)]
    pub(crate) fn of(&self, peer: PeerId) -> Option<Teller> {
        let id = self.tellers.get(peer.number()).copied().flatten()?;
        Some(self.told[id.number()].teller)
    }

    /// Panics unless the indexes say the same; all peers with a teller have to be among `untried`.
    #[cfg(any(test, feature = "internals", feature = "sim"))]
    pub(crate) fn check(&self, untried: &BTreeSet<PeerId>) {
        let mut kept = 0;
        for (&teller, &id) in &self.ids {
            let told = &self.told[id.number()];
            assert_eq!(told.teller, teller);
            let peers: BTreeSet<_> = told.peers.members().iter().copied().collect();
            assert_eq!(peers.len(), told.peers.len());
            assert!(!peers.is_empty() && peers.is_subset(untried), "{teller:?}");
            assert!(peers.iter().all(|peer| self.tellers[peer.number()] == Some(id)));
            assert!(self.by_size.contains(&(peers.len(), id)));
            kept += peers.len();
        }
        assert_eq!(self.by_size.len(), self.ids.len());
        assert_eq!(self.told.len(), self.ids.len() + self.free.len());
        assert_eq!(self.tellers.iter().flatten().count(), kept);
    }
}
