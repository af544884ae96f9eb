//! What the peer table costs at 1 thousand to 1 million known peers, beside simpler ways to keep the same list.
//!
//! ```text
//! cargo bench --features internals --bench peer_table            all sizes
//! cargo bench --features internals --bench peer_table -- 1000    some of them
//! ```
//!
//! What counts is ratios within one run, as machines differ and are shared. So the contenders of a row take turns, round
//! by round, a ratio is the median of the rounds' ratios and a time the median of the rounds' times. Criterion measures
//! one function after the other, minutes apart, and knows no ratio between two of them: hence a plain `main`.
//!
//! How a row stays fair:
//! - Contenders know the same addresses and get the same work. A baseline does the bookkeeping that the row names, and
//!   follows none of the table's rules.
//! - The clock moves by a millisecond a step, by values that are ready before a measurement starts. Pauses after a
//!   failure (5 s and more) then end between the rounds, and what that costs has a row of its own.
//! - Whoever changes a peer does it to another one each time, at random places in memory.
//!
//! The counting allocator makes each allocation a few nanoseconds slower, for everybody.
//!
//! Without `--bench`, as `cargo test --all-targets` starts it, one round at the smallest size shows that it still works.

#[path = "peer_table/baselines.rs"]
mod baselines;
#[path = "peer_table/report.rs"]
mod report;
#[path = "peer_table/setup.rs"]
mod setup;

use std::alloc::System;
use std::collections::HashMap;
use std::hint::black_box;
use std::net::IpAddr;

use cap::Cap;

use crate::baselines::{Bare, Plain};
use crate::report::Contender::{Bare as BareIndex, Floor, Ours, Scan, Sort};
use crate::report::{Goal, Row, timed};
use crate::setup::{Node, addresses_crowded, addresses_lone, addresses_v4, addresses_v6};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const LARGEST: usize = SIZES[3];
/// Beyond this, whoever scans or sorts on each event is left out.
const SLOW_UP_TO: usize = 100_000;
/// How many addresses a peer list brings, and how many peers are asked for.
const LIST: usize = 1_000;
/// How many are chosen in a row: so many that each subnet is drawn from again and again, as in a benchmark that runs one
/// thing alone. The first choice after something else has used the caches waits for memory twice more.
const CHOICES: usize = 20_000;
/// How often something short is done in a row, so that the others' turns between do not count as its cache misses.
const TIMES: usize = 20;

fn main() {
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let chosen: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if is_bench { &SIZES[..] } else { &SIZES[..1] };
    report::print_head();
    for &size in sizes {
        if chosen.is_empty() || chosen.contains(&size) {
            Bench::new(size, if is_bench { 31 } else { 1 }).run();
        }
    }
}

/// All contenders at one size.
struct Bench {
    size: usize,
    rounds: usize,
    known: Vec<IpAddr>,
    fresh: Vec<IpAddr>,
    node: Node,
    bare: Bare,
    plain: Plain,
}

impl Bench {
    fn new(size: usize, rounds: usize) -> Self {
        let mut known = addresses_v4(size + (rounds + 2) * LIST);
        let fresh = known.split_off(size);
        Self {
            size,
            rounds,
            node: Node::new(&known),
            bare: Bare::new(&known),
            plain: Plain::new(&known),
            known,
            fresh,
        }
    }

    fn run(mut self) {
        self.memory("memory a peer, IPv4", &self.known);
        self.memory("memory a peer, IPv6", &addresses_v6(self.size));
        self.memory("memory a peer, IPv4, all of 64 subnets", &addresses_crowded(self.size));
        self.memory(
            "memory a peer, IPv6, each of its own subnet",
            &addresses_lone(self.size),
        );
        // The first dial was a proven peer's turn.
        self.choose("choose the next to dial, unproven turn");
        self.node.fail_dials(1);
        self.choose("choose the next to dial, proven turn");
        self.best();
        self.all();
        self.fail();
        self.end_pauses();
        self.come_and_go();
        self.merge_known();
        self.merge_new();
        self.refuse();
    }

    fn memory(&self, work: &'static str, ips: &[IpAddr]) {
        fn bytes<T>(make: impl FnOnce() -> T) -> usize {
            let before = ALLOCATOR.allocated();
            let made = make();
            let bytes = ALLOCATOR.allocated() - before;
            drop(made);
            bytes
        }
        let table = bytes(|| Node::new(ips)) / self.size;
        let bare = bytes(|| Bare::new(ips)) / self.size;
        let plain = bytes(|| Plain::new(ips)) / self.size;
        report::print_memory(
            work,
            self.size,
            [table, bare, plain],
            (self.size == LARGEST && work == "memory a peer, IPv4").then_some(245),
        );
    }

    fn choose(&mut self, work: &'static str) {
        let (slow, rounds) = (self.is_slow(), self.rounds);
        let Self { node, bare, plain, .. } = self;
        let mut row = Row::new(work, self.size, Goal::None)
            .with(Ours, || {
                timed(CHOICES, || {
                    for _ in 0..CHOICES {
                        black_box(node.table.choose(node.now));
                    }
                })
            })
            .with(BareIndex, || {
                timed(CHOICES, || {
                    for _ in 0..CHOICES {
                        black_box(bare.best());
                    }
                })
            });
        if !slow {
            row = row
                .with(Scan, || timed(1, || black_box(plain.best())))
                .with(Sort, || timed(1, || black_box(plain.sorted().first().copied())));
        }
        row.run(rounds);
    }

    fn fail(&mut self) {
        let (slow, rounds, steps) = (self.is_slow(), self.rounds, self.steps());
        let Self { node, bare, known, .. } = self;
        let (mut scanned, mut sorted, mut updated) = (Plain::new(known), Plain::new(known), Plain::new(known));
        let mut turns = known.iter().cycle();
        let mut row = Row::new("choose + attempt + failure", self.size, Goal::Ratio(4.0, BareIndex))
            .with(Ours, move || {
                node.wait_for_all();
                node.plan(steps);
                timed(steps, || node.fail_dials(steps))
            })
            .with(BareIndex, || {
                timed(steps, || {
                    for _ in 0..steps {
                        let ip = bare.start_dial();
                        bare.fail(ip);
                    }
                })
            })
            .with(Floor, || {
                timed(steps, || {
                    for &ip in turns.by_ref().take(steps) {
                        updated.fail(ip);
                    }
                })
            });
        if !slow {
            row = row
                .with(Scan, || {
                    timed(1, || {
                        let ip = scanned.best();
                        scanned.fail(ip);
                    })
                })
                .with(Sort, || {
                    timed(1, || {
                        let ip = sorted.sorted()[0];
                        sorted.fail(ip);
                    })
                });
        }
        row.run(rounds);
    }

    /// What a failure leaves for later.
    fn end_pauses(&mut self) {
        let (rounds, steps) = (self.rounds, self.steps());
        let Self { node, .. } = self;
        Row::new("the end of a pause", self.size, Goal::None)
            .with(Ours, || {
                node.wait_for_all();
                node.plan(steps);
                node.fail_dials(steps);
                node.plan_after_pauses();
                timed(steps, || node.end_pauses(steps))
            })
            .run(rounds);
    }

    fn come_and_go(&mut self) {
        let (slow, rounds, steps) = (self.is_slow(), self.rounds, self.steps());
        let Self { node, bare, known, .. } = self;
        let (mut scanned, mut sorted, mut updated) = (Plain::new(known), Plain::new(known), Plain::new(known));
        let mut turns = known.iter().cycle();
        let mut row = Row::new("attempt + alive + closed", self.size, Goal::Ratio(4.5, BareIndex))
            .with(Ours, || {
                node.wait_for_all();
                node.plan(steps);
                timed(steps, || node.come_and_go(steps))
            })
            .with(BareIndex, || {
                timed(steps, || {
                    for _ in 0..steps {
                        let ip = bare.start_dial();
                        bare.alive(ip);
                        bare.close(ip);
                    }
                })
            })
            .with(Floor, || {
                timed(steps, || {
                    for &ip in turns.by_ref().take(steps) {
                        updated.close(ip);
                    }
                })
            });
        if !slow {
            row = row
                .with(Scan, || {
                    timed(1, || {
                        let ip = scanned.best();
                        scanned.close(ip);
                    })
                })
                .with(Sort, || {
                    timed(1, || {
                        let ip = sorted.sorted()[0];
                        sorted.close(ip);
                    })
                });
        }
        row.run(rounds);
    }

    fn best(&mut self) {
        let (slow, rounds) = (self.is_slow(), self.rounds);
        let Self { node, bare, plain, .. } = self;
        let mut row = Row::new("best 1,000 of good_peer_ips()", self.size, Goal::None)
            .with(Ours, || {
                timed(TIMES, || {
                    for _ in 0..TIMES {
                        black_box(node.table.good_peer_ips().take(LIST).collect::<Vec<_>>());
                    }
                })
            })
            .with(BareIndex, || {
                timed(TIMES, || {
                    for _ in 0..TIMES {
                        black_box(bare.best_first().take(LIST).collect::<Vec<_>>());
                    }
                })
            });
        if !slow {
            row = row
                .with(Scan, || timed(1, || black_box(plain.best_of(LIST))))
                .with(Sort, || timed(1, || black_box(plain.sorted())));
        }
        row.run(rounds);
    }

    fn all(&mut self) {
        let rounds = self.rounds.min(11);
        let Self { node, bare, plain, .. } = self;
        Row::new("whole get_good_peer_ips()", self.size, Goal::Ratio(4.0, BareIndex))
            .with(Ours, || timed(1, || black_box(node.table.all_good_peer_ips())))
            .with(BareIndex, || {
                timed(1, || black_box(bare.best_first().collect::<Vec<_>>()))
            })
            .with(Sort, || timed(1, || black_box(plain.sorted())))
            .run(rounds);
    }

    fn merge_known(&mut self) {
        let rounds = self.rounds;
        let Self {
            node,
            bare,
            plain,
            known,
            ..
        } = self;
        // Those that were never tried are there still; the end of the list has them as the beginning has.
        let list: Vec<_> = known.iter().rev().take(LIST).copied().collect();
        Row::new("merge 1,000 known", self.size, Goal::Ratio(2.5, Floor))
            .with(Ours, || timed(1, || node.table.on_peer_list(list.iter().copied())))
            .with(BareIndex, || {
                timed(1, || {
                    for &ip in &list {
                        black_box(bare.add(ip));
                    }
                })
            })
            .with(Floor, || {
                timed(1, || {
                    for &ip in &list {
                        black_box(plain.find(ip));
                    }
                })
            })
            .run(rounds);
    }

    fn merge_new(&mut self) {
        let (slow, rounds, size) = (self.is_slow(), self.rounds, self.size);
        // Fewer where each one scans everything.
        let scans = if size > SIZES[0] { 10 } else { LIST };
        let Self {
            node,
            bare,
            known,
            fresh,
            ..
        } = self;
        let (mut scanned, mut sorted) = (Plain::new(known), Plain::new(known));
        // What the connections left free is taken first.
        let (rest, fresh) = fresh.split_at(LIST);
        node.table.on_peer_list(rest.iter().copied());
        let [mut ours, mut bares, mut scan_lists, mut sort_lists] = [(); 4].map(|()| fresh.chunks(LIST));
        let mut row = Row::new("merge 1,000 new, full table", size, Goal::Ratio(6.0, BareIndex))
            .with(Ours, || {
                let list = next(&mut ours);
                timed(1, || node.table.on_peer_list(list.iter().copied()))
            })
            .with(BareIndex, || {
                let list = next(&mut bares);
                timed(1, || {
                    for &ip in list {
                        if bare.add(ip) {
                            bare.keep_bound(size);
                        }
                    }
                })
            });
        if !slow {
            row = row
                .with(Scan, || {
                    let list = &next(&mut scan_lists)[..scans];
                    let share = timed(1, || {
                        for &ip in list {
                            scanned.add(ip);
                            scanned.forget_worst();
                        }
                    });
                    share * f64::from(u32::try_from(LIST / scans).expect("1,000 or less"))
                })
                .with(Sort, || {
                    let list = next(&mut sort_lists);
                    timed(1, || {
                        for &ip in list {
                            sorted.add(ip);
                        }
                        for ip in sorted.sorted().split_off(size) {
                            sorted.forget(ip);
                        }
                    })
                });
        }
        row.run(rounds);
    }

    fn refuse(&mut self) {
        let (rounds, size) = (self.rounds, self.size);
        let Self { node, plain, .. } = self;
        let (banned, connected) = node.ban_and_connect((size / 8).min(500));
        for (work, ips, goal) in [
            ("inbound refused: banned", banned, 12.0),
            ("inbound refused: connected", connected, 4.0),
        ] {
            let found: HashMap<IpAddr, u32> = plain.ips().chain(ips.iter().copied()).map(|ip| (ip, 1)).collect();
            let times = ips.len();
            Row::new(work, size, Goal::Ratio(goal, Floor))
                .with(Ours, || timed(times, || node.refuse_all(&ips)))
                .with(Floor, || {
                    timed(times, || {
                        for ip in &ips {
                            black_box(found.get(ip));
                        }
                    })
                })
                .run(rounds);
        }
    }

    fn is_slow(&self) -> bool {
        self.size > SLOW_UP_TO
    }

    /// Dials a round: few enough that candidates of both kinds are left at the smallest size.
    fn steps(&self) -> usize {
        (self.size / 8).min(300)
    }
}

fn next<'a>(lists: &mut impl Iterator<Item = &'a [IpAddr]>) -> &'a [IpAddr] {
    lists.next().expect("there is a list for each round")
}
