//! Dumps of many peers: no poll does much, and the list may change meanwhile. What is counted is work, not time: slots of
//! the table that a poll has passed. What it writes is bounded by the buffer that it fills.

use std::collections::HashSet;
use std::fs;
use std::net::Ipv4Addr;

use tempfile::TempDir;

use super::dumps::{file, other_work};
use super::*;
use crate::peer_file;

const PEERS: u32 = 200_000;
/// How many slots of the table one poll may pass for a dump.
const MOST_SLOTS: usize = 256;
/// More polls than any dump here takes.
const POLLS: usize = 10_000;

fn peer(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x3C00_0000 + number).into()
}

type Task = task::Spawn<NetworkController<MemoryTransport>>;

/// A controller that knows many peers, polled by hand.
struct Many {
    net: Task,
    folder: TempDir,
    /// How many slots the dump has passed, and in how many polls.
    slots: usize,
    polls: usize,
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
            slots: 0,
            polls: 0,
        };
        many.count(|net| assert!(net.poll_next().is_pending()));
        many
    }

    /// Checks that one poll does little. Answers whether it has done something for the dump, and what it returned.
    fn count<R>(&mut self, poll: impl FnOnce(&mut Task) -> R) -> (bool, R) {
        let before = self.net.engine.dumping.cursor.slot;
        let net = &mut self.net;
        let result = unconstrained(async { poll(net) }).now_or_never().unwrap();
        let after = self.net.engine.dumping.cursor.slot;
        // A dump that begins starts at the first slot.
        let slots = after.checked_sub(before).unwrap_or(after);
        assert!(slots <= MOST_SLOTS, "{slots} slots in one poll");
        self.polls += 1;
        self.slots += slots;
        (slots > 0, result)
    }

    /// Polls until so many dumps are written, and lets `change` something between the polls.
    async fn dump(&mut self, dumps: u64, mut change: impl FnMut(&mut Self, usize)) {
        assert!(
            self.count(task::Spawn::poll_next).1.is_pending(),
            "it sees that something has changed"
        );
        advance(seconds(61)).await;
        (self.slots, self.polls) = (0, 0);
        while self.net.stats().counters.dumps_written < dumps {
            assert!(self.polls < POLLS, "it comes to no end");
            let (has_progressed, poll) = self.count(task::Spawn::poll_next);
            assert!(poll.is_pending());
            if self.slots > 0 {
                change(self, self.polls);
            }
            // A change wakes the task, too: whether the dump waits for the disk, only its progress tells.
            if !has_progressed {
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
    assert!(many.slots >= before.len(), "{} slots", many.slots);
    assert!(many.polls >= before.len() / MOST_SLOTS, "{} polls", many.polls);

    let dumped: HashSet<IpAddr> = many.in_file().await.into_iter().map(|peer| peer.ip).collect();
    let now: HashSet<IpAddr> = many.net.peers().map(|peer| peer.ip).collect();
    let missing: Vec<_> = before.intersection(&now).filter(|ip| !dumped.contains(ip)).collect();
    assert!(missing.is_empty(), "peers that stayed are in the file: {missing:?}");

    many.dump(2, |_, _| {}).await;
    assert_eq!(many.in_file().await, many.net.peers().cloned().collect::<Vec<_>>());
    assert_eq!(fs::read_dir(many.folder.path()).unwrap().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_poll_does_little_for_the_last_dump() {
    let mut many = Many::new(50_000, 1_000_000).await;
    drop(many.net.feedback_peer_banned(peer(7)));
    loop {
        let (has_progressed, closed) = many.count(|net| net.enter(|cx, mut net| Pin::new(&mut *net).poll_close(cx)));
        match closed {
            Poll::Ready(result) => break result.unwrap(),
            Poll::Pending if has_progressed => {}
            Poll::Pending => other_work().await,
        }
        assert!(many.polls < POLLS, "it comes to no end");
    }
    assert!(many.slots >= 50_000, "{} slots", many.slots);
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
    assert_eq!(many.in_file().await.len(), 3);
    assert!(many.slots >= usize::try_from(peers).unwrap(), "{} slots", many.slots);
}
