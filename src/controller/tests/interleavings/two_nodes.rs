//! Two controllers that dial each other: every order in which their dials come out and come in, their applications hear
//! of each other, and something gets in the way.

use PeerStatus::{Banned, InAlive, OutAlive};

use super::trial::{
    Action, Answer, BAN_DURATION, CONNECT_TIMEOUT, HANDSHAKE_TIMEOUT, Held, RETRY_BACKOFF, Setup, Stimulus, Trial,
};
use super::*;

/// The peer that both ends may be connected with beside each other.
const THIRD: &str = "90.1.0.1";
/// What the other end is among an end's peers, and the third.
const OTHER_END: usize = 0;
const THIRD_PEER: usize = 1;

/// What gets in the way, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Obstacle {
    /// The application of an end bans the other end.
    Ban(usize),
    /// A third peer, which the end dials as well, answers and meets its target.
    Third(usize),
    /// The application of an end closes it.
    Close(usize),
    /// What is due first comes about.
    Deadline,
}

struct Pair {
    ends: [Setup; 2],
    obstacles: Vec<Obstacle>,
    /// An end whose only place for those that come in is taken.
    full: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Poll(usize),
    /// What an end dialed comes in at the other.
    ComesIn(usize),
    /// A dial comes out well, as the kernel accepts for the other end.
    ComesOut(usize),
    /// The other end has turned it away before it came out.
    IsReset(usize),
    /// What came in and is undecided is dead, as the dialer has let go of it.
    IsDead(usize),
    /// The application of an end finishes the handshake.
    Shakes(usize),
    /// The application of an end hears that the other end has let go.
    Hears(usize),
    /// It finishes the handshake with the third peer.
    ShakesThird(usize),
    Meets(usize),
}

/// One connection.
struct Link {
    from: usize,
    /// The number of the dial at the end that made it.
    dial: usize,
    /// The number at the other end, if it has come in there.
    inbound: Option<usize>,
}

/// Where a connection is at one of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Underway,
    Undecided,
    Held,
    Gone,
}

struct Joined {
    ends: [Trial; 2],
    links: Vec<Link>,
    /// So many dials of each end are or were among the links.
    known_dials: [usize; 2],
    /// What may get in the way still.
    obstacles: Vec<Obstacle>,
    /// Whether nothing has.
    is_smooth: bool,
}

impl World for Joined {
    type Setup = Pair;
    type Action = Step;
    type View = (Vec<<Trial as World>::View>, Vec<(usize, At, At)>, Vec<Obstacle>);

    async fn new(pair: &Pair) -> Self {
        let [lower, higher] = &pair.ends;
        let mut joined = Self {
            ends: [Trial::new(lower).await, Trial::new(higher).await],
            links: Vec::new(),
            known_dials: [0; 2],
            obstacles: pair.obstacles.clone(),
            is_smooth: pair.full.is_none() && lower.config.target_outgoing_connections > 0,
        };
        if let Some(full) = pair.full {
            let end = &mut joined.ends[full];
            end.act(Action::Of(THIRD_PEER, Stimulus::ComesIn), false).await;
            end.act(Action::Poll, false).await;
            end.act(Action::Of(THIRD_PEER, Stimulus::Reports(Report::Alive)), false)
                .await;
        }
        joined.find_links();
        joined
    }

    fn actions(&self) -> Vec<Step> {
        let mut steps = self.usual_steps();
        steps.extend(
            [0, 1]
                .into_iter()
                .filter(|&end| self.shakes_third(end))
                .map(Step::ShakesThird),
        );
        let possible = self
            .obstacles
            .iter()
            .enumerate()
            .filter(|(_, obstacle)| self.is_possible(**obstacle));
        steps.extend(possible.map(|(number, _)| Step::Meets(number)));
        steps
    }

    async fn act(&mut self, step: Step, checked: bool) {
        match step {
            Step::Poll(end) => self.ends[end].act(Action::Poll, checked).await,
            Step::ComesIn(link) => self.comes_in(link, checked).await,
            Step::ComesOut(link) => self.dialed(link, Answer::Ok, checked).await,
            Step::IsReset(link) => self.dialed(link, Answer::Refused, checked).await,
            Step::IsDead(link) => self.is_dead(link),
            Step::Shakes(end) => self.tell(end, Stimulus::Reports(Report::Alive), checked).await,
            Step::Hears(end) => self.tell(end, Stimulus::Reports(Report::Failed), checked).await,
            Step::ShakesThird(end) => {
                let alive = Action::Of(THIRD_PEER, Stimulus::Reports(Report::Alive));
                self.ends[end].act(alive, checked).await;
            }
            Step::Meets(number) => {
                let obstacle = self.obstacles.remove(number);
                self.meets(obstacle, checked).await;
            }
        }
        self.find_links();
    }

    fn view(&self) -> Self::View {
        let places = self.links.iter().map(|link| {
            let [dialed, came] = self.places(link);
            (link.from, dialed, came)
        });
        let ends = self.ends.iter().map(Trial::view);
        (ends.collect(), places.collect(), self.obstacles.clone())
    }

    async fn run_out(mut self) {
        self.settle().await;
        if self.is_smooth {
            self.check_survivor();
        }
        let closed = self.ends.iter().position(Trial::is_closed);
        let mut rounds = 0;
        while closed.is_none() && !self.are_connected() {
            rounds += 1;
            assert!(rounds < 100, "they never meet again");
            self.pass(false).await;
            self.settle().await;
        }
        if let Some(closed) = closed {
            let left = &self.ends[1 - closed];
            assert!(
                left.is_closed() || left.peers[OTHER_END].held.is_none(),
                "not connected"
            );
        }
    }
}

impl Joined {
    /// Writes down what an end has begun to dial, and forgets what is over at both; in an order that follows from what
    /// there is, as steps name connections by their place in it.
    fn find_links(&mut self) {
        for (from, end) in self.ends.iter().enumerate() {
            let new = (self.known_dials[from]..end.peers[OTHER_END].dials.len()).map(|dial| Link {
                from,
                dial,
                inbound: None,
            });
            self.links.extend(new);
            self.known_dials[from] = end.peers[OTHER_END].dials.len();
        }
        self.links.sort_by_key(|link| (link.from, link.dial));
        let places: Vec<_> = self.links.iter().map(|link| self.places(link)).collect();
        let mut places = places.into_iter();
        self.links.retain(|_| places.next() != Some([At::Gone; 2]));
    }

    fn places(&self, link: &Link) -> [At; 2] {
        [self.at_dialer(link), self.at_other_end(link)]
    }

    fn at_dialer(&self, link: &Link) -> At {
        let end = &self.ends[link.from];
        let known = &end.peers[OTHER_END];
        let socket = known.dials[link.dial].socket.as_ref().map(|socket| socket.id);
        match end.node.world.fates(ip(end.names[OTHER_END]))[link.dial] {
            DialFate::UnderWay => At::Underway,
            DialFate::Answered if socket.is_some() => At::Undecided,
            _ if known.held.as_ref().is_some_and(|held| Some(held.socket.id) == socket) => At::Held,
            DialFate::Answered | DialFate::Done | DialFate::CalledOff => At::Gone,
        }
    }

    fn at_other_end(&self, link: &Link) -> At {
        let known = &self.ends[1 - link.from].peers[OTHER_END];
        let Some(inbound) = link.inbound.map(|number| &known.inbound[number]) else {
            let is_refused = self.ends[1 - link.from].is_closed();
            return if is_refused { At::Gone } else { At::Underway };
        };
        let is_held = |held: &Held| !held.is_outgoing && held.socket.remote.port() == inbound.port;
        match inbound {
            inbound if inbound.is_undecided() && !inbound.is_dead => At::Undecided,
            _ if known.held.as_ref().is_some_and(is_held) => At::Held,
            _ => At::Gone,
        }
    }

    /// The connection that an end's application holds.
    fn held_by(&self, end: usize) -> Option<&Link> {
        self.links
            .iter()
            .find(|link| self.places(link)[usize::from(link.from != end)] == At::Held)
    }

    /// What happens of itself, where nothing gets in the way.
    fn usual_steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (number, link) in self.links.iter().enumerate() {
            match self.places(link) {
                // It may be over before the other end sees it, but not if it was never made.
                [At::Underway, At::Underway] => steps.extend([Step::ComesIn(number), Step::ComesOut(number)]),
                [At::Undecided | At::Held, At::Underway] => steps.push(Step::ComesIn(number)),
                [At::Underway, At::Gone] => steps.extend([Step::ComesOut(number), Step::IsReset(number)]),
                [At::Underway, _] => steps.push(Step::ComesOut(number)),
                [At::Gone, At::Undecided] => steps.push(Step::IsDead(number)),
                _ => {}
            }
        }
        for end in [0, 1] {
            steps.extend(Some(Step::Poll(end)).filter(|_| !self.ends[end].is_closed() && !self.ends[end].rests()));
            steps.extend(self.step_of_application(end));
        }
        steps
    }

    fn step_of_application(&self, end: usize) -> Option<Step> {
        let link = self.held_by(end)?;
        let is_alive = self.ends[end].peers[OTHER_END]
            .held
            .as_ref()
            .is_some_and(|held| held.is_alive);
        match self.places(link)[usize::from(link.from == end)] {
            At::Held => (!is_alive).then_some(Step::Shakes(end)),
            At::Gone => Some(Step::Hears(end)),
            At::Underway | At::Undecided => None,
        }
    }

    async fn comes_in(&mut self, link: usize, checked: bool) {
        let other = 1 - self.links[link].from;
        self.links[link].inbound = Some(self.ends[other].peers[OTHER_END].inbound.len());
        self.tell(other, Stimulus::ComesIn, checked).await;
    }

    async fn dialed(&mut self, link: usize, answer: Answer, checked: bool) {
        let from = self.links[link].from;
        self.tell(from, Stimulus::Dialed(answer), checked).await;
    }

    fn is_dead(&mut self, link: usize) {
        let Link { from, inbound, .. } = self.links[link];
        self.ends[1 - from].peers[OTHER_END].inbound[inbound.unwrap()].die();
    }

    async fn tell(&mut self, end: usize, stimulus: Stimulus, checked: bool) {
        self.ends[end].act(Action::Of(OTHER_END, stimulus), checked).await;
    }

    fn is_possible(&self, obstacle: Obstacle) -> bool {
        match obstacle {
            Obstacle::Ban(end) => !self.ends[end].is_closed() && self.ends[end].status(OTHER_END) != Some(Banned),
            Obstacle::Third(end) => !self.ends[end].is_closed() && self.ends[end].dial_under_way(THIRD_PEER).is_some(),
            Obstacle::Close(end) => !self.ends[end].is_closed(),
            Obstacle::Deadline => self.next_due().is_some(),
        }
    }

    async fn meets(&mut self, obstacle: Obstacle, checked: bool) {
        self.is_smooth = false;
        match obstacle {
            Obstacle::Ban(end) => self.tell(end, Stimulus::Reports(Report::Banned), checked).await,
            Obstacle::Third(end) => {
                let answer = Action::Of(THIRD_PEER, Stimulus::Dialed(Answer::Ok));
                self.ends[end].act(answer, checked).await;
            }
            Obstacle::Close(end) => self.ends[end].act(Action::Close, checked).await,
            Obstacle::Deadline => self.pass(checked).await,
        }
    }

    fn next_due(&self) -> Option<Duration> {
        let open = self.ends.iter().filter(|end| !end.is_closed());
        open.filter_map(Trial::next_due).min()
    }

    /// Time passes for both until something is due for one of them.
    async fn pass(&mut self, checked: bool) {
        let due = self.next_due().expect("something is due");
        for end in [1, 0] {
            let is_due = self.ends[end].next_due() == Some(due);
            if is_due && !self.ends[end].is_closed() {
                self.ends[end].act(Action::Pass, checked).await;
            }
        }
        self.ends.iter_mut().for_each(Trial::keep_account);
        self.find_links();
    }

    /// Both ends do what they have to, and no time passes.
    async fn settle(&mut self) {
        for _ in 0..200 {
            self.alive_third().await;
            let Some(&step) = self.usual_steps().first() else {
                return;
            };
            self.act(step, false).await;
        }
        panic!("they never rest");
    }

    /// A third peer that is connected is always well.
    async fn alive_third(&mut self) {
        for end in [0, 1] {
            if self.shakes_third(end) {
                let alive = Action::Of(THIRD_PEER, Stimulus::Reports(Report::Alive));
                self.ends[end].act(alive, false).await;
            }
        }
    }

    fn shakes_third(&self, end: usize) -> bool {
        let third = self.ends[end].peers[THIRD_PEER].held.as_ref();
        !self.ends[end].is_closed() && third.is_some_and(|held| !held.is_alive)
    }

    /// Whether both applications have one and the same connection, and it is alive.
    fn are_connected(&self) -> bool {
        let statuses = [0, 1].map(|end| self.ends[end].status(OTHER_END));
        let is_one = self.links.iter().any(|link| self.places(link) == [At::Held; 2]);
        let is_alive = [[Some(OutAlive), Some(InAlive)], [Some(InAlive), Some(OutAlive)]].contains(&statuses);
        assert!(!is_alive || is_one, "each has a connection of its own");
        is_alive
    }

    /// Without a retry, both ends have kept the dial of the lower one.
    fn check_survivor(&self) {
        assert!(self.are_connected(), "both are lost");
        assert_eq!(self.ends[0].status(OTHER_END), Some(OutAlive));
        let dials = self.ends.each_ref().map(|end| end.peers[OTHER_END].dials.len());
        assert!(dials[0] == 1 && dials[1] <= 1, "{dials:?}");
    }
}

fn end(us: &'static str, peers: &'static [&'static str], seed: u64) -> Setup {
    Setup {
        config: NetworkConfig {
            listen_ip: ip(us),
            seed: Some(seed),
            connect_timeout: CONNECT_TIMEOUT,
            handshake_timeout: Some(HANDSHAKE_TIMEOUT),
            ban_duration: Some(BAN_DURATION),
            retry_backoff: RETRY_BACKOFF,
            ..wanting(1)
        },
        us,
        peers,
        beginning: Vec::new(),
        known: 1,
        stimuli: Vec::new(),
        most_unpolled: 0,
        most_undecided: 0,
        edits: Vec::new(),
    }
}

fn pair(obstacles: Vec<Obstacle>) -> Pair {
    Pair {
        ends: [end(LOW, &[HIGH, THIRD], 1), end(HIGH, &[LOW, THIRD], 2)],
        obstacles,
        full: None,
    }
}

#[tokio::test(start_paused = true)]
async fn the_dial_of_the_lower_end_survives_at_both() {
    explore::<Joined>(&pair(Vec::new())).await.shows(200);
}

#[tokio::test(start_paused = true)]
async fn a_ban_keeps_two_nodes_apart_until_it_ends() {
    for end in [0, 1] {
        explore::<Joined>(&pair(vec![Obstacle::Ban(end)])).await.shows(400);
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_closes_leaves_nothing_at_the_other() {
    for end in [0, 1] {
        explore::<Joined>(&pair(vec![Obstacle::Close(end)])).await.shows(400);
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_connect_when_one_is_connected_with_a_third_peer() {
    for end in [0, 1] {
        let mut pair = pair(vec![Obstacle::Third(end)]);
        pair.ends[end].known = 2;
        pair.ends[end].config.dial_stagger = Duration::ZERO;
        explore::<Joined>(&pair).await.shows(400);
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_connect_when_one_has_no_free_incoming_slot() {
    for full in [0, 1] {
        let mut pair = pair(Vec::new());
        pair.ends[full].config.max_incoming_connections = 1;
        pair.full = Some(full);
        explore::<Joined>(&pair).await.shows(200);
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_connect_when_a_deadline_comes_first() {
    explore::<Joined>(&pair(vec![Obstacle::Deadline])).await.shows(400);
}

/// A rotation of an end ends the connection in favour of the third peer, in every order; they connect again.
#[tokio::test(start_paused = true)]
async fn two_nodes_connect_again_when_one_rotates() {
    for end in [0, 1] {
        let mut pair = pair(vec![Obstacle::Third(end)]);
        pair.ends[end].known = 2;
        pair.ends[end].config.dial_stagger = Duration::ZERO;
        pair.ends[end].config.rotation_interval = Some(millis(1));
        if end == 1 {
            // So that it is its own dial that survives.
            pair.ends[0].config.target_outgoing_connections = 0;
        }
        explore::<Joined>(&pair).await.shows(100);
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_connect_when_one_evicts_for_the_other() {
    for full in [0, 1] {
        let mut pair = pair(vec![Obstacle::Deadline]);
        let config = &mut pair.ends[full].config;
        (config.max_incoming_connections, config.evict_incoming) = (1, true);
        pair.full = Some(full);
        explore::<Joined>(&pair).await.shows(300);
    }
}
