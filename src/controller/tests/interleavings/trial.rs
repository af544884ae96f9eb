//! One controller, its transport and its application, with an account of every socket.

mod checks;
mod configs;
mod pauses;
mod view;

use PeerStatus::{Banned, InHandshaking, OutHandshaking};

use self::configs::Edit;
use self::pauses::{Connection, Pauses};
pub(super) use self::view::View;
use super::*;
use crate::controller::tests::watching::Follower;

pub(super) const CONNECT_TIMEOUT: Duration = seconds(5);
pub(super) const HANDSHAKE_TIMEOUT: Duration = seconds(8);
pub(super) const BAN_DURATION: Duration = seconds(20);
/// An own address is forgotten after this long.
pub(super) const OWN_FOR: Duration = seconds(3600);
pub(super) const RETRY_BACKOFF: Duration = seconds(3);
/// That every dial leaves from.
const DIAL_PORT: u16 = 50_000;

/// What is tried, and how much of it at one time.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) config: NetworkConfig,
    /// The address by which the peers know the node.
    pub(super) us: &'static str,
    pub(super) peers: &'static [&'static str],
    /// What has happened before the search begins.
    pub(super) beginning: Vec<Action>,
    /// So many of these the node knows from the start.
    pub(super) known: usize,
    pub(super) stimuli: Vec<Stimulus>,
    /// So many stimuli may wait for one poll.
    pub(super) most_unpolled: usize,
    /// So many connections of one peer may be undecided.
    pub(super) most_undecided: usize,
    /// What the operator may change of the config, one at a time.
    pub(super) edits: Vec<Edit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Poll,
    /// Time passes until the next thing is due.
    Pass,
    Close,
    /// The controller goes on with the config of the start, changed by this edit if there is one.
    Reconfigure(Option<usize>),
    Of(usize, Stimulus),
}

/// What the world or the application does about one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stimulus {
    /// Our dial comes out.
    Dialed(Answer),
    ComesIn,
    /// A router sends our dial back to us: the peer's address is our own.
    ComesBack,
    /// A connection that came in and is undecided dies.
    Dies,
    Reports(Report),
    Lease(Report),
    DropsLease,
    /// The lease of a connection that is over asks for a ban.
    StaleLeaseBans,
    /// The lease of a connection that was rotated or evicted is dropped.
    DropsHeldLease,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Ok,
    Refused,
    Unroutable,
    HostFault,
}

impl Answer {
    fn error(self) -> Option<ErrorKind> {
        match self {
            Self::Ok => None,
            Self::Refused => Some(ErrorKind::ConnectionRefused),
            Self::Unroutable => Some(ErrorKind::NetworkUnreachable),
            Self::HostFault => Some(ErrorKind::AddrInUse),
        }
    }
}

/// All that was ever seen of one peer.
#[derive(Default)]
pub(super) struct Known {
    pub(super) dials: Vec<Dial>,
    pub(super) inbound: Vec<Inbound>,
    pub(super) held: Option<Held>,
    connection: Option<Connection>,
    pauses: Pauses,
    stale: Option<PeerLease>,
    banned_at: Option<Duration>,
    /// Since when its address is known to be the node's own.
    own_since: Option<Duration>,
    /// What leases have reported since the last poll; `None` for one that was dropped.
    reported: Vec<Option<Report>>,
}

pub(super) struct Dial {
    started: Duration,
    answer: Option<Answer>,
    pub(super) socket: Option<crate::transport::memory::SocketProbe>,
}

pub(super) struct Inbound {
    /// Rises with each new one.
    number: u16,
    pub(super) port: u16,
    probe: IncomingProbe,
    parked: Option<Duration>,
    pub(super) is_dead: bool,
    fate: IncomingFate,
}

/// A connection that the application holds.
pub(super) struct Held {
    pub(super) socket: MemorySocket,
    lease: PeerLease,
    pub(super) is_outgoing: bool,
    pub(super) is_alive: bool,
    since: Duration,
}

pub(super) struct Trial {
    pub(super) node: Node,
    follower: Follower,
    pub(super) peers: Vec<Known>,
    us: &'static str,
    pub(super) names: &'static [&'static str],
    stimuli: Vec<Stimulus>,
    most_unpolled: usize,
    most_undecided: usize,
    start_config: NetworkConfig,
    edits: Vec<Edit>,
    /// The edit of the present config.
    edited: Option<usize>,
    unpolled: usize,
    /// It was polled for the last event, so it is polled for the next one.
    must_poll: bool,
    is_closed: bool,
}

impl World for Trial {
    type Setup = Setup;
    type Action = Action;
    type View = View;

    async fn new(setup: &Setup) -> Self {
        let mut config = setup.config.clone();
        config.initial_peers = setup.peers[..setup.known].iter().map(|peer| ip(peer)).collect();
        let mut node = Node::new(config.clone()).await;
        let mut trial = Self {
            follower: Follower::of(&mut node),
            node,
            peers: setup.peers.iter().map(|_| Known::default()).collect(),
            us: setup.us,
            names: setup.peers,
            stimuli: setup.stimuli.clone(),
            most_unpolled: setup.most_unpolled,
            most_undecided: setup.most_undecided,
            start_config: config,
            edits: setup.edits.clone(),
            edited: None,
            unpolled: 0,
            must_poll: true,
            is_closed: false,
        };
        for &action in &setup.beginning {
            trial.act(action, true).await;
        }
        trial
    }

    fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.is_closed {
            return actions;
        }
        actions.push(Action::Close);
        if !self.rests() {
            actions.push(Action::Poll);
        }
        let may_act = self.unpolled < self.most_unpolled;
        if may_act && self.next_due().is_some() {
            actions.push(Action::Pass);
        }
        let edits = (0..self.edits.len()).map(Some).chain([None]);
        let others = edits.filter(|edit| may_act && *edit != self.edited);
        actions.extend(others.map(Action::Reconfigure));
        for peer in 0..self.peers.len() {
            let possible = self
                .stimuli
                .iter()
                .filter(|stimulus| self.is_possible(peer, **stimulus));
            actions.extend(
                possible
                    .filter(|stimulus| may_act || **stimulus == Stimulus::Dies)
                    .map(|stimulus| Action::Of(peer, *stimulus)),
            );
        }
        actions
    }

    async fn act(&mut self, action: Action, checked: bool) {
        let before = checked.then(|| self.before());
        match action {
            Action::Poll => self.poll(),
            Action::Pass => self.pass().await,
            Action::Close => self.close(),
            Action::Reconfigure(edit) => self.reconfigure(edit),
            Action::Of(peer, stimulus) => self.stimulate(peer, stimulus),
        }
        if let Some(before) = &before {
            self.check_turned_away(before);
        }
        self.keep_account();
        self.follower.follow(&self.node);
        if before.is_some() {
            self.check();
        }
    }

    fn view(&self) -> View {
        View::of(self)
    }

    async fn run_out(self) {
        if !self.is_closed {
            self.comes_to_an_end().await;
        }
    }
}

impl Trial {
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub(super) fn status(&self, peer: usize) -> Option<PeerStatus> {
        self.node.status(self.names[peer])
    }

    pub(super) fn now(&self) -> Duration {
        self.node.net.engine.clock.now().since_start
    }

    /// A runtime would not poll it now.
    pub(super) fn rests(&self) -> bool {
        !self.must_poll && !self.node.net.is_woken()
    }

    fn inbound(&self) -> impl Iterator<Item = &Inbound> {
        self.peers.iter().flat_map(|known| &known.inbound)
    }

    fn is_possible(&self, peer: usize, stimulus: Stimulus) -> bool {
        let (known, status) = (&self.peers[peer], self.status(peer));
        let is_connected = status.is_some_and(PeerStatus::is_connected);
        let mut undecided = known.inbound.iter().filter(|inbound| inbound.is_undecided());
        match stimulus {
            Stimulus::Dialed(_) => self.dial_under_way(peer).is_some(),
            Stimulus::ComesIn => undecided.count() < self.most_undecided,
            Stimulus::ComesBack => {
                let has_come_back = known.inbound.iter().any(|inbound| inbound.port == DIAL_PORT);
                let is_dialed = self.dial_under_way(peer).is_some() || status == Some(OutHandshaking);
                is_dialed && !has_come_back && undecided.count() < self.most_undecided
            }
            Stimulus::Dies => undecided.any(|inbound| !inbound.is_dead),
            Stimulus::Reports(Report::Alive | Report::Failed | Report::Closed) => is_connected,
            Stimulus::Reports(Report::Banned | Report::BannedFor(_)) => {
                status != Some(Banned) && known.own_since.is_none()
            }
            Stimulus::Reports(Report::Ourselves) => known.own_since.is_none(),
            Stimulus::Reports(Report::Unbanned) => status == Some(Banned),
            Stimulus::Reports(Report::Reserve) => !self.is_reserved(peer),
            Stimulus::Reports(Report::Release) => self.is_reserved(peer),
            Stimulus::Reports(Report::Dial) => self.may_want_dial(peer),
            Stimulus::Lease(_) | Stimulus::DropsLease => known.held.is_some(),
            Stimulus::DropsHeldLease => known.stale.is_some() && self.is_held(peer),
            Stimulus::StaleLeaseBans => known.stale.is_some() && status != Some(Banned),
        }
    }

    /// The peer's connection was rotated or evicted, and its lease may not be dropped yet.
    pub(super) fn is_held(&self, peer: usize) -> bool {
        let held = self.node.net.engine.table().held();
        held.is_some_and(|(held, _)| held == ip(self.names[peer]))
    }

    pub(super) fn is_reserved(&self, peer: usize) -> bool {
        self.node.config().reserved_peers.contains(&ip(self.names[peer]))
    }

    /// It is not connected, dialed, banned or our own, nor is a dial of it wanted yet.
    fn may_want_dial(&self, peer: usize) -> bool {
        let is_absent = matches!(self.status(peer), None | Some(PeerStatus::Idle));
        let table = self.node.net.engine.table();
        is_absent && self.peers[peer].own_since.is_none() && !table.is_wanted(ip(self.names[peer]))
    }

    /// Its number among the dials of the peer.
    pub(super) fn dial_under_way(&self, peer: usize) -> Option<usize> {
        let fates = self.node.world.fates(ip(self.names[peer]));
        fates.iter().position(|fate| *fate == DialFate::UnderWay)
    }

    fn stimulate(&mut self, peer: usize, stimulus: Stimulus) {
        let rested = self.rests();
        match stimulus {
            Stimulus::Dialed(answer) => self.answer(peer, answer),
            Stimulus::ComesIn => self.comes_in(peer, None),
            Stimulus::ComesBack => self.comes_in(peer, Some(DIAL_PORT)),
            Stimulus::Dies => {
                let mut inbound = self.peers[peer].inbound.iter_mut();
                let victim = inbound
                    .find(|inbound| inbound.is_undecided() && !inbound.is_dead)
                    .unwrap();
                victim.die();
                return assert_eq!(rested, self.rests(), "woken for nothing");
            }
            Stimulus::Reports(report) => self.report(peer, report),
            Stimulus::Lease(report) => self.use_lease(peer, Some(report)),
            Stimulus::DropsLease => self.use_lease(peer, None),
            Stimulus::DropsHeldLease => drop(self.peers[peer].stale.take()),
            Stimulus::StaleLeaseBans => {
                self.peers[peer].stale.take().unwrap().banned_for(BAN_DURATION);
                self.peers[peer].reported.push(Some(Report::BannedFor(BAN_DURATION)));
            }
        }
        self.unpolled += 1;
        assert!(!self.rests(), "{stimulus:?} wakes no task");
    }

    fn answer(&mut self, peer: usize, answer: Answer) {
        let to = ip(self.names[peer]);
        let number = self.dial_under_way(peer).unwrap();
        let dial = &mut self.peers[peer].dials[number];
        dial.answer = Some(answer);
        match answer.error() {
            None => dial.socket = Some(self.node.world.dial_ok(to)),
            Some(error) => self.node.world.dial_err(to, error.into()),
        }
    }

    fn comes_in(&mut self, peer: usize, port: Option<u16>) {
        self.node.last_port += 1;
        let number = self.node.last_port;
        let port = port.unwrap_or(number);
        let probe = self
            .node
            .connects_from(SocketAddr::new(ip(self.names[peer]), port), self.us);
        self.peers[peer].inbound.push(Inbound {
            number,
            port,
            probe,
            parked: None,
            is_dead: false,
            fate: IncomingFate::Pending,
        });
    }

    /// Feedback by address. The application drops a socket before it reports its end.
    fn report(&mut self, peer: usize, report: Report) {
        let (ip, known) = (ip(self.names[peer]), &mut self.peers[peer]);
        match (report, &mut known.held) {
            (Report::Alive, Some(held)) => held.is_alive = true,
            (Report::Failed | Report::Closed, held) => {
                known.stale = held.take().map(|held| held.lease).or(known.stale.take());
            }
            (Report::Alive | Report::Banned | Report::BannedFor(_) | Report::Unbanned | Report::Ourselves, _) => {}
            (Report::Reserve | Report::Release | Report::Dial, _) => {}
        }
        drop(match report {
            Report::Alive => self.node.feedback_peer_alive(ip),
            Report::Failed => self.node.feedback_peer_failed(ip),
            Report::Closed => self.node.feedback_peer_closed(ip),
            Report::Banned => self.node.feedback_peer_banned(ip),
            Report::BannedFor(_) | Report::Reserve | Report::Release | Report::Dial => self.node.net.report(ip, report),
            Report::Unbanned => self.node.feedback_peer_unbanned(ip),
            Report::Ourselves => self.node.feedback_ourselves(ip),
        });
        self.note_report(peer, Some(report), self.has_parked(peer));
    }

    /// The lease of the present connection reports; `None` drops it.
    fn use_lease(&mut self, peer: usize, report: Option<Report>) {
        let known = &mut self.peers[peer];
        known.reported.push(report);
        if report == Some(Report::Alive) {
            return known.held.as_ref().unwrap().lease.alive();
        }
        let lease = known.held.take().unwrap().lease;
        match report {
            Some(Report::Failed) => lease.failed(),
            Some(Report::Closed) => lease.closed(),
            Some(Report::Banned) => lease.banned(),
            None => drop(lease),
            Some(Report::BannedFor(term)) => lease.banned_for(term),
            Some(Report::Alive | Report::Unbanned | Report::Ourselves) => unreachable!("no end of a lease"),
            Some(Report::Reserve | Report::Release | Report::Dial) => unreachable!("not of a lease"),
        }
    }

    fn poll(&mut self) {
        let (counters, names) = (self.node.counters(), 0..self.names.len());
        let crossed: Vec<_> = names.map(|peer| self.has_parked(peer)).collect();
        let poll = async { self.node.net.poll_next() };
        let event = unconstrained(poll).now_or_never().expect("there is no await in it");
        (self.unpolled, self.must_poll) = (0, event.is_ready());
        for (peer, &is_crossed) in crossed.iter().enumerate() {
            let known = &mut self.peers[peer];
            let reported = std::mem::take(&mut known.reported);
            if let (true, Some(held)) = (reported.contains(&Some(Report::Alive)), &mut known.held) {
                held.is_alive = true;
            }
            for report in reported {
                self.note_report(peer, report, is_crossed);
            }
        }
        self.note_outcomes(&counters, crossed[0]);
        let now = self.now();
        for known in &mut self.peers {
            known.own_since = known.own_since.filter(|&since| now < since + OWN_FOR);
        }
        if let Poll::Ready(event) = event {
            self.take(event.expect("it is open").into());
        }
    }

    /// The application is handed a connection.
    fn take(&mut self, candidate: Candidate) {
        let peer = self.names.iter().position(|name| ip(name) == candidate.ip).unwrap();
        let lease = self.node.lease(candidate.ip).expect("its event was returned");
        assert_eq!(lease.is_outgoing(), candidate.is_outgoing);
        let status = if candidate.is_outgoing {
            OutHandshaking
        } else {
            InHandshaking
        };
        assert_eq!(self.status(peer), Some(status));
        self.let_go(peer);
        let (since, known) = (self.now(), &mut self.peers[peer]);
        assert!(known.held.is_none(), "a second connection with {}", candidate.ip);
        if candidate.is_outgoing {
            let dialed = known.dials.last().and_then(|dial| dial.socket.as_ref());
            assert_eq!(dialed.map(|socket| socket.id), Some(candidate.socket.id));
        } else {
            let port = candidate.socket.remote.port();
            let inbound = known.inbound.iter().find(|inbound| inbound.port == port).unwrap();
            assert_eq!((inbound.fate, inbound.is_dead), (IncomingFate::Pending, false));
            assert_eq!(inbound.probe.fate(), IncomingFate::Admitted);
            let is_other_end = port == DIAL_PORT && inbound.parked.is_some() && known.own_since.is_none();
            let has_succeeded = known.dials.last().is_some_and(|dial| dial.answer == Some(Answer::Ok));
            assert!(!(is_other_end && has_succeeded), "connected with ourselves");
        }
        let is_outgoing = candidate.is_outgoing;
        known.held = Some(Held {
            socket: candidate.socket,
            lease,
            is_outgoing,
            is_alive: false,
            since,
        });
        self.note_connection(peer, is_outgoing);
    }

    /// The application drops a connection of which it hears that it is over.
    fn let_go(&mut self, peer: usize) {
        let known = &mut self.peers[peer];
        if let Some(held) = known.held.take_if(|held| held.lease.revoked().now_or_never().is_some()) {
            known.stale = Some(held.lease);
        }
    }

    /// When something will be due that is not so yet, though it may wake no task.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let now = self.now();
        let old = (0..self.peers.len()).filter_map(|peer| self.ages(peer)[1]);
        old.chain(self.next_wake()).filter(|due| *due > now).min()
    }

    fn next_wake(&self) -> Option<Duration> {
        let now = self.now();
        let connects =
            (0..self.peers.len()).filter_map(|peer| Some(self.peers[peer].dials[self.dial_under_way(peer)?].started));
        let table = self.node.net.engine.table().next_deadline();
        connects
            .map(|started| started + CONNECT_TIMEOUT)
            .chain(table)
            .filter(|due| *due > now)
            .min()
    }

    /// A controller at rest is woken when the next thing is due, and not before.
    async fn pass(&mut self) {
        let now = self.now();
        let due = self.next_due().unwrap();
        let due = Duration::from_millis(u64::try_from(due.as_millis()).unwrap());
        if self.rests() && due > now + millis(1) {
            advance(due - millis(1) - now).await;
            assert!(self.rests(), "woken before anything is due");
        }
        let wakes = self.next_wake().is_some_and(|wake| wake <= due + millis(1));
        advance(due + millis(2) - self.now()).await;
        self.unpolled += 1;
        assert!(!wakes || !self.rests(), "what is due wakes no task");
    }

    fn close(&mut self) {
        let must_wake = self.rests();
        let closed = self.node.close().now_or_never();
        assert!(matches!(closed, Some(Ok(()))));
        assert!(!must_wake || self.node.net.is_woken(), "the end wakes no task");
        self.is_closed = true;
    }

    /// Writes down what has changed.
    pub(super) fn keep_account(&mut self) {
        let now = self.now();
        let mut waiting = self.node.world.accepts_waiting() + self.node.net.engine.accepted.len();
        let mut inbound: Vec<_> = self.peers.iter_mut().flat_map(|known| &mut known.inbound).collect();
        inbound.sort_by_key(|inbound| std::cmp::Reverse(inbound.number));
        for inbound in inbound {
            inbound.fate = inbound.probe.fate();
            if inbound.fate != IncomingFate::Pending {
                continue;
            }
            match waiting.checked_sub(1) {
                Some(left) => waiting = left,
                None => _ = inbound.parked.get_or_insert(now),
            }
        }
        for peer in 0..self.peers.len() {
            self.let_go(peer);
            let status = self.status(peer);
            let known = &mut self.peers[peer];
            known.banned_at = (status == Some(Banned)).then(|| known.banned_at.unwrap_or(now));
            known.connection = known
                .connection
                .filter(|_| status.is_some_and(PeerStatus::is_connected));
            for _ in self.peers[peer].dials.len()..self.node.world.fates(ip(self.names[peer])).len() {
                self.peers[peer].dials.push(Dial {
                    started: now,
                    answer: None,
                    socket: None,
                });
                self.note_dial(peer);
            }
        }
    }
}

impl Known {
    /// Since when the application shakes hands.
    fn shakes_since(&self) -> Option<Duration> {
        self.held.as_ref().filter(|held| !held.is_alive).map(|held| held.since)
    }
}

impl Inbound {
    pub(super) fn die(&mut self) {
        self.is_dead = true;
        self.probe.kill(ErrorKind::ConnectionReset);
    }

    pub(super) fn is_undecided(&self) -> bool {
        self.probe.fate() == IncomingFate::Pending
    }

    fn watch(&self) -> IncomingProbe {
        self.probe.clone()
    }
}
