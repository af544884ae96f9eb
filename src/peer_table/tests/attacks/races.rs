//! Many peers of one subnet and a few others: whichever answer, no subnet is taken twice while others are free.

use super::*;
use crate::peer_table::subnet::Subnet;

const TARGET: usize = 8;

struct Race {
    world: World,
    random: Random,
    answers: BTreeSet<(Duration, IpAddr)>,
}

impl Race {
    fn new(seed: u64) -> Self {
        let mut config = config();
        config.target_outgoing_connections = TARGET;
        let mut world = World::new(config, seed);
        world.table.on_peer_list(crowd().chain((0..8).map(lone)));
        Self {
            world,
            random: Random::new(seed),
            answers: BTreeSet::new(),
        }
    }

    /// Starts what is due, and asserts that each dial goes to a network that no other takes.
    fn dial(&mut self) {
        let mut taken = self.taken();
        for ip in self.world.poll() {
            assert!(taken.insert(Subnet::of(ip)), "the network of {ip} was taken");
            let answer = self.world.now.since_start + self.delay();
            self.answers.insert((answer, ip));
        }
    }

    /// All answer soon but one of the first eight, so that one more is raced beside it.
    fn delay(&mut self) -> Duration {
        let is_late = self.answers.len() == TARGET - 1;
        let soonest = if is_late { 480 } else { 10 };
        Duration::from_millis(soonest + u64::try_from(self.random.below(190)).unwrap())
    }

    fn wait(&mut self) {
        let answer = self.answers.first().map(|&(due, _)| due);
        let next = [self.world.table.next_deadline(), answer].into_iter().flatten().min();
        let next = next.expect("a dial is under way");
        self.world.wait(next - self.world.now.since_start);
    }

    fn answer(&mut self) {
        while let Some(&(due, ip)) = self.answers.first()
            && due <= self.world.now.since_start
        {
            self.answers.pop_first();
            if self.world.dials.iter().any(|&(_, dialed, _)| dialed == ip) {
                self.world.dial_succeeds(ip);
                self.world.report(ip, Report::Alive);
            }
        }
    }

    fn taken(&self) -> BTreeSet<Subnet> {
        let table = &self.world.table;
        let outgoing = table.peers().filter(|peer| peer.status != PeerStatus::Idle);
        outgoing.map(|peer| Subnet::of(peer.ip)).collect()
    }
}

fn crowd() -> impl Iterator<Item = IpAddr> {
    (1..=50).map(|host| IpAddr::from([198, 51, 0, host]))
}

#[test]
fn raced_dials_take_each_network_once_while_others_are_free() {
    let mut raced = 0;
    for seed in 0..50 {
        let mut race = Race::new(seed);
        while race.world.table.stats().peers.out_alive < TARGET {
            race.dial();
            race.wait();
            race.answer();
        }
        assert_eq!(race.taken().len(), TARGET, "seed {seed}");
        raced += usize::from(race.world.table.stats().counters.dials_started > 8);
    }
    assert_eq!(raced, 50);
    println!("8 connections to 8 networks in each of 50 runs, {raced} of them with raced dials");
}
