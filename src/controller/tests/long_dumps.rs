//! Dumps of many peers: no poll does much, and the list may change meanwhile. What is counted is work, not time.

use std::collections::HashSet;
use std::fs;
use std::net::Ipv4Addr;

use tempfile::TempDir;

use super::dumps::{file, other_work};
use super::*;
use crate::peer_file::{self, CHUNK, Work, take_work};

const PEERS: u32 = 200_000;
/// What one poll may do for a dump.
const MOST: Work = Work {
    records: 256,
    bytes_written: 2 * CHUNK,
    odd_writes: 1,
};
/// More polls than any dump here takes.
const POLLS: usize = 10_000;

fn peer(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x3C00_0000 + number).into()
}

/// A controller that knows many peers, polled by hand.
struct Many {
    net: task::Spawn<NetworkController<MemoryTransport>>,
    folder: TempDir,
    /// What was done since the test looked last.
    done: Work,
    polls: usize,
    longest: Work,
}

impl Many {
    async fn new(peers: u32, max_banned_peers: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let records: Vec<_> = (0..peers)
            .map(|number| format!("{{\"ip\":\"{}\"}}", peer(number)))
            .collect();
        let mut config = file(&folder, &format!("[{}]", records.join(",\n")), passive());
        config.max_idle_peers = records.len();
        config.max_banned_peers = max_banned_peers;
        let (transport, _world) = memory();
        let net = NetworkController::with_transport(config, transport).await.unwrap();
        let mut many = Self {
            net: task::spawn(net),
            folder,
            done: Work::default(),
            polls: 0,
            longest: Work::default(),
        };
        many.count(|net| assert!(net.poll_next().is_pending()));
        many
    }

    /// Sees to it that one poll does little.
    fn count<R>(&mut self, poll: impl FnOnce(&mut task::Spawn<NetworkController<MemoryTransport>>) -> R) -> R {
        take_work();
        let net = &mut self.net;
        let result = unconstrained(async { poll(net) }).now_or_never().unwrap();
        let work = take_work();
        assert!(
            work.records <= MOST.records && work.bytes_written <= MOST.bytes_written,
            "{work:?} in one poll"
        );
        self.polls += 1;
        self.done.records += work.records;
        self.done.bytes_written += work.bytes_written;
        self.longest.records = self.longest.records.max(work.records);
        result
    }

    /// Polls until so many dumps are written, and lets `meddle` between the polls.
    async fn dump(&mut self, dumps: u64, mut meddle: impl FnMut(&mut Self, usize)) {
        assert!(
            self.count(task::Spawn::poll_next).is_pending(),
            "it sees that something has changed"
        );
        advance(seconds(61)).await;
        (self.done, self.polls) = (Work::default(), 0);
        while self.net.stats().counters.dumps_written < dumps {
            assert!(self.polls < POLLS, "it comes to no end");
            let before = (self.done.records, self.done.bytes_written);
            assert!(self.count(task::Spawn::poll_next).is_pending());
            let is_stuck = before == (self.done.records, self.done.bytes_written);
            if self.done.records > 0 {
                meddle(self, self.polls);
            }
            // What `meddle` does wakes the task as well, so that alone would poll on and on during a write.
            if is_stuck || !self.net.is_woken() {
                other_work().await;
            }
        }
        assert_eq!(self.net.stats().counters.dumps_failed, 0);
    }

    async fn in_file(&self) -> Vec<Peer> {
        let records = peer_file::load(self.folder.path().join("peers.json")).await.unwrap();
        records.into_iter().map(|record| record.peer).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn each_poll_does_little_for_a_dump_while_the_list_changes() {
    let mut many = Many::new(PEERS, 1_000_000).await;
    drop(many.net.feedback_peer_banned(peer(7)));
    let before: HashSet<IpAddr> = many.net.peers().map(|peer| peer.ip).collect();
    many.dump(1, |many, polls| {
        let number = u32::try_from(polls).unwrap();
        // A new one, for which another is forgotten; a ban, and a ban that ends.
        drop(many.net.feedback_peer_list([peer(PEERS + number)]));
        drop(many.net.feedback_peer_banned(peer(number * 31 % PEERS)));
        drop(
            many.net
                .feedback_peer_unbanned(peer(number.saturating_sub(9) * 31 % PEERS)),
        );
    })
    .await;
    assert!(many.done.records >= before.len() - many.polls, "{:?}", many.done);
    assert!(many.polls > before.len() / MOST.records, "{} polls", many.polls);
    assert!(many.longest.records > 0);

    let dumped: HashSet<IpAddr> = many.in_file().await.into_iter().map(|peer| peer.ip).collect();
    let now: HashSet<IpAddr> = many.net.peers().map(|peer| peer.ip).collect();
    let missing: Vec<_> = before.intersection(&now).filter(|ip| !dumped.contains(ip)).collect();
    assert!(missing.is_empty(), "whoever stayed stands in the file: {missing:?}");

    many.dump(2, |_, _| {}).await;
    assert_eq!(many.in_file().await, many.net.peers().cloned().collect::<Vec<_>>());
    assert_eq!(fs::read_dir(many.folder.path()).unwrap().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_poll_does_little_for_the_last_dump() {
    let mut many = Many::new(50_000, 1_000_000).await;
    drop(many.net.feedback_peer_banned(peer(7)));
    loop {
        let closed = many.count(|net| net.enter(|cx, mut net| Pin::new(&mut *net).poll_close(cx)));
        match closed {
            Poll::Ready(result) => break result.unwrap(),
            Poll::Pending if many.net.is_woken() => {}
            Poll::Pending => other_work().await,
        }
        assert!(many.polls < POLLS, "it comes to no end");
    }
    assert_eq!(many.done.records, 50_000);
    assert_eq!(many.in_file().await.len(), 50_000);
}

#[tokio::test(start_paused = true)]
async fn empty_slots_are_passed_over_a_few_at_a_time() {
    let peers = 50_000;
    let mut many = Many::new(peers, 3).await;
    for number in 0..peers {
        drop(many.net.feedback_peer_banned(peer(number)));
    }
    assert_eq!(many.net.peers().count(), 3);
    many.dump(1, |_, _| {}).await;
    assert_eq!(many.done.records, 3);
    let slots_a_poll = usize::try_from(peers).unwrap() / many.polls;
    assert!(slots_a_poll <= MOST.records, "{slots_a_poll} slots in one poll");
}
