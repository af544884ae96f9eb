//! Peers by subnet. Dialing and forgetting both choose a subnet before they choose a peer, so that the holder of one
//! network gains little by filling it with addresses.

use std::collections::{BTreeSet, HashMap};

use crate::peer::PeerId;
use crate::peer_table::bag::{Bag, Numbered, Positions};
use crate::peer_table::random::Random;
use crate::peer_table::rank::Ranked;
use crate::peer_table::subnet::{GroupId, Subnet};

/// What a peer is to its group. A peer with an inbound connection, for instance, is nothing to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Membership {
    #[default]
    None,
    /// Unproven and Idle: may be dialed.
    Ready,
    /// Unproven and Idle, but it may not be dialed now.
    Waiting,
    /// Proven, and may be dialed.
    Proven(Ranked),
    /// The same, but its last connection has ended or it has failed since.
    Lapsed(Ranked),
    /// Dialed or connected by a dial.
    Outgoing { takes_subnet: bool },
    /// Banned, and the last event that concerned the ban.
    Banned(u64),
}

/// The known peers of one subnet, as far as there is something to choose among them.
#[derive(Debug)]
pub(crate) struct Group {
    subnet: Subnet,
    known: u32,
    /// The peers whose dials and outgoing connections take the subnet.
    takers: BTreeSet<PeerId>,
    ready: Bag<PeerId>,
    waiting: Bag<PeerId>,
    proven: Reached,
    lapsed: Reached,
    banned: BTreeSet<(u64, PeerId)>,
}

/// Proven peers that may be dialed, to draw one from, and in their order.
#[derive(Debug, Default)]
struct Reached {
    bag: Bag<PeerId>,
    order: BTreeSet<Ranked>,
}

/// What others choose a group by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// An outgoing connection, or a dial, of the subnet exists.
    pub(crate) is_taken: bool,
    /// Any peer can be drawn: an unproven or a lapsed one.
    pub(crate) can_draw: bool,
    pub(crate) best_proven: Option<Ranked>,
    pub(crate) best_lapsed: Option<Ranked>,
    /// How many unproven Idle peers there are.
    pub(crate) crowd: usize,
    pub(crate) bans: usize,
}

impl Summary {
    /// Any peer may be dialed.
    pub(crate) fn has_any(&self) -> bool {
        self.can_draw || self.best_proven.is_some()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Groups {
    ids: HashMap<Subnet, GroupId>,
    groups: Vec<Group>,
    free: Vec<GroupId>,
    /// Of peers in the bags of their groups.
    positions: Positions,
}

impl Reached {
    fn insert(&mut self, ranked: Ranked, positions: &mut Positions) {
        self.bag.insert(ranked.id, positions);
        self.order.insert(ranked);
    }

    fn remove(&mut self, ranked: &Ranked, positions: &mut Positions) {
        self.bag.remove(ranked.id, positions);
        self.order.remove(ranked);
    }
}

impl Group {
    fn new(subnet: Subnet) -> Self {
        Self {
            subnet,
            known: 0,
            takers: BTreeSet::new(),
            ready: Bag::default(),
            waiting: Bag::default(),
            proven: Reached::default(),
            lapsed: Reached::default(),
            banned: BTreeSet::new(),
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            is_taken: !self.takers.is_empty(),
            can_draw: !self.ready.is_empty() || !self.lapsed.bag.is_empty(),
            best_proven: self.proven.order.first().copied(),
            best_lapsed: self.lapsed.order.first().copied(),
            crowd: self.crowd_len(),
            bans: self.banned.len(),
        }
    }

    /// How many peers of the subnet are known.
    pub(crate) fn known(&self) -> usize {
        self.known.try_into().unwrap_or(usize::MAX)
    }

    /// A peer that may be dialed, at random, if there is one: unproven or lapsed, or any.
    pub(crate) fn draw(&self, of_all: bool, random: &mut Random) -> Option<PeerId> {
        let proven = if of_all { self.proven.bag.members() } else { &[] };
        let bags = [self.ready.members(), self.lapsed.bag.members(), proven];
        let len = bags.iter().map(|bag| bag.len()).sum::<usize>();
        let number = (len > 0).then(|| random.below(len))?;
        bags.into_iter().flatten().nth(number).copied()
    }

    pub(crate) fn crowd_len(&self) -> usize {
        self.ready.len() + self.waiting.len()
    }

    /// One of the unproven Idle peers, of which there are `crowd_len`.
    pub(crate) fn crowd_member(&self, number: usize) -> PeerId {
        let ready = self.ready.members();
        match number.checked_sub(ready.len()) {
            None => ready[number],
            Some(number) => self.waiting.members()[number],
        }
    }

    /// The ban that has been quiet for longest: its last event, and its peer.
    pub(crate) fn quietest_ban(&self) -> Option<(u64, PeerId)> {
        self.banned.first().copied()
    }

    /// A peer that takes the subnet, if it is taken.
    pub(crate) fn taker(&self) -> Option<PeerId> {
        self.takers.first().copied()
    }

    fn enter(&mut self, id: PeerId, membership: Membership, positions: &mut Positions) {
        match membership {
            Membership::Ready => self.ready.insert(id, positions),
            Membership::Waiting => self.waiting.insert(id, positions),
            Membership::Proven(ranked) => self.proven.insert(ranked, positions),
            Membership::Lapsed(ranked) => self.lapsed.insert(ranked, positions),
            Membership::Outgoing { takes_subnet: true } => drop(self.takers.insert(id)),
            Membership::Banned(event) => drop(self.banned.insert((event, id))),
            Membership::Outgoing { takes_subnet: false } | Membership::None => {}
        }
    }

    fn leave(&mut self, id: PeerId, membership: Membership, positions: &mut Positions) {
        match membership {
            Membership::Ready => self.ready.remove(id, positions),
            Membership::Waiting => self.waiting.remove(id, positions),
            Membership::Proven(ranked) => self.proven.remove(&ranked, positions),
            Membership::Lapsed(ranked) => self.lapsed.remove(&ranked, positions),
            Membership::Outgoing { takes_subnet: true } => drop(self.takers.remove(&id)),
            Membership::Banned(event) => drop(self.banned.remove(&(event, id))),
            Membership::Outgoing { takes_subnet: false } | Membership::None => {}
        }
    }
}

impl Groups {
    pub(crate) fn get(&self, id: GroupId) -> &Group {
        &self.groups[id.number()]
    }

    /// The group of a peer that becomes known.
    pub(crate) fn join(&mut self, subnet: Subnet) -> GroupId {
        let id = *self.ids.entry(subnet).or_insert_with(|| match self.free.pop() {
            Some(id) => {
                self.groups[id.number()].subnet = subnet;
                id
            }
            None => {
                self.groups.push(Group::new(subnet));
                GroupId(u32::try_from(self.groups.len() - 1).unwrap_or(u32::MAX))
            }
        });
        self.groups[id.number()].known += 1;
        id
    }

    /// A peer of the group is forgotten.
    pub(crate) fn part(&mut self, id: GroupId) {
        let group = &mut self.groups[id.number()];
        group.known -= 1;
        if group.known == 0 {
            self.ids.remove(&group.subnet);
            self.free.push(id);
        }
    }

    /// A peer of the group changes; answers with what the group was before and is after.
    pub(crate) fn shift(
        &mut self,
        group: GroupId,
        peer: PeerId,
        before: Membership,
        after: Membership,
    ) -> (Summary, Summary) {
        let group = &mut self.groups[group.number()];
        let was = group.summary();
        group.leave(peer, before, &mut self.positions);
        group.enter(peer, after, &mut self.positions);
        (was, group.summary())
    }

    #[cfg(any(test, feature = "internals", feature = "sim"))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Subnet, GroupId, &Group)> {
        self.ids.iter().map(|(&subnet, &id)| (subnet, id, self.get(id)))
    }
}
