//! A transport that panics: the panic reaches the application, no slot leaks, no event is lost, and polls go on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use PeerStatus::{Idle, OutConnecting, OutHandshaking};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::*;
use crate::transport::memory::MemoryIncoming;
use crate::transport::{Dialed, Incoming};

/// What of the transport panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Dial,
    DialFuture,
    CallingOff,
    Listener,
    RemoteAddr,
    LocalAddr,
    CheckAlive,
    Admit,
    Refuse,
}

/// Panics once, where it is told to.
#[derive(Clone, Default)]
struct Trap(Arc<Mutex<Option<At>>>);

impl Trap {
    fn set(&self, at: At) {
        *self.0.lock().unwrap() = Some(at);
    }

    fn pass(&self, here: At) {
        let sprung = self.0.lock().unwrap().take_if(|at| *at == here);
        assert_eq!(sprung, None, "told to panic");
    }
}

struct Fragile(MemoryTransport, Trap);

impl Transport for Fragile {
    type Socket = MemorySocket;
    type Incoming = FragileIncoming;
    type Listener = BoxStream<'static, io::Result<FragileIncoming>>;
    type Dial = BoxFuture<'static, io::Result<Dialed<MemorySocket>>>;

    async fn listen(&mut self, at: SocketAddr) -> io::Result<(Self::Listener, SocketAddr)> {
        let (listener, bound) = self.0.listen(at).await?;
        let trap = self.1.clone();
        let listener = StreamExt::map(listener, move |incoming| {
            trap.pass(At::Listener);
            Ok(FragileIncoming(incoming?, trap.clone()))
        });
        Ok((Box::pin(listener), bound))
    }

    fn dial(&mut self, from: Option<IpAddr>, to: SocketAddr) -> Self::Dial {
        self.1.pass(At::Dial);
        let (dial, trap) = (self.0.dial(from, to), self.1.clone());
        let under_way = UnderWay(Some(trap.clone()));
        async move {
            let mut under_way = under_way;
            trap.pass(At::DialFuture);
            let answer = dial.await;
            under_way.0 = None;
            answer
        }
        .boxed()
    }
}

/// A dial that has no answer yet.
struct UnderWay(Option<Trap>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(trap) = &self.0 {
            trap.pass(At::CallingOff);
        }
    }
}

struct FragileIncoming(MemoryIncoming, Trap);

impl Incoming for FragileIncoming {
    type Socket = MemorySocket;

    fn remote_addr(&self) -> SocketAddr {
        self.1.pass(At::RemoteAddr);
        self.0.remote_addr()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.1.pass(At::LocalAddr);
        self.0.local_addr()
    }

    fn check_alive(&self) -> io::Result<()> {
        self.1.pass(At::CheckAlive);
        self.0.check_alive()
    }

    fn admit(self) -> io::Result<MemorySocket> {
        self.1.pass(At::Admit);
        self.0.admit()
    }

    fn refuse(self) {
        self.1.pass(At::Refuse);
        self.0.refuse();
    }
}

struct Scene {
    net: task::Spawn<NetworkController<Fragile>>,
    world: MemoryHandle,
    trap: Trap,
}

impl Scene {
    async fn new(mut config: NetworkConfig, peers: &[&str]) -> Self {
        config.initial_peers = peers.iter().map(|peer| ip(peer)).collect();
        // Nothing but the end of what holds it frees a slot.
        config.handshake_timeout = None;
        let ((transport, world), trap) = (memory(), Trap::default());
        let net = NetworkController::with_transport(config, Fragile(transport, trap.clone())).await;
        Self {
            net: task::spawn(net.unwrap()),
            world,
            trap,
        }
    }

    #[track_caller]
    fn panics(&mut self, at: At) {
        self.trap.set(at);
        let polled = catch_unwind(AssertUnwindSafe(|| self.net.poll_next().is_ready()));
        assert!(polled.is_err(), "{at:?}: {polled:?}");
        self.net.engine.table().check();
    }

    fn comes_in(&self, peer: &str) -> IncomingProbe {
        self.world
            .incoming(SocketAddr::new(ip(peer), 9), SocketAddr::new(ip(US), PORT))
    }

    #[track_caller]
    fn event(&mut self) -> Candidate {
        match self.net.poll_next() {
            Poll::Ready(Some(event)) => event.into(),
            other => panic!("{other:?}"),
        }
    }

    fn status(&self, peer: &str) -> Option<PeerStatus> {
        self.net.peer(ip(peer)).map(|peer| peer.status)
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_panics_frees_its_slot_before_the_panic_goes_on() {
    for at in [At::Dial, At::DialFuture] {
        let mut scene = Scene::new(wanting(1), &[LOW]).await;
        scene.panics(at);
        assert_eq!(scene.status(LOW), Some(Idle));
        let attempts = scene.net.stats().outgoing_attempts.used;
        assert_eq!((attempts, scene.net.engine.dials.len()), (0, 0), "{at:?}");
        assert!(
            scene.net.poll_next().is_pending(),
            "nothing is polled after it has panicked"
        );
        advance(seconds(7)).await;
        assert!(scene.net.poll_next().is_pending());
        assert_eq!(scene.status(LOW), Some(OutConnecting), "{at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_inbound_connection_that_panics_takes_no_slot_and_others_come_in() {
    let mut config = passive();
    config.max_incoming_connections = 1;
    for at in [At::RemoteAddr, At::LocalAddr, At::CheckAlive, At::Admit] {
        let mut scene = Scene::new(config.clone(), &[]).await;
        let _probe = scene.comes_in(LOW);
        scene.panics(at);
        assert_eq!((scene.status(LOW), scene.world.live_sockets()), (None, 0), "{at:?}");
        let _probe = scene.comes_in(HIGH);
        assert_eq!(scene.event().ip, ip(HIGH));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_panics_stops_nothing_else() {
    let mut scene = Scene::new(passive(), &[]).await;
    drop(scene.net.feedback_peer_banned(ip(LOW)));
    let _probes = [scene.comes_in(LOW), scene.comes_in(HIGH)];
    scene.panics(At::Refuse);
    assert_eq!(scene.event().ip, ip(HIGH));
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_panics_has_ended_and_dials_go_on() {
    let mut scene = Scene::new(wanting(1), &[LOW]).await;
    assert!(scene.net.poll_next().is_pending());
    let _probe = scene.comes_in(HIGH);
    scene.panics(At::Listener);
    assert!(!scene.world.is_listening());
    scene.world.dial_ok(ip(LOW));
    assert!(scene.event().is_outgoing);
}

#[tokio::test(start_paused = true)]
async fn a_dial_is_handed_over_though_what_came_in_beside_it_panics() {
    for at in [At::Listener, At::RemoteAddr, At::LocalAddr, At::CheckAlive] {
        let mut scene = Scene::new(wanting(1), &[LOW]).await;
        assert!(scene.net.poll_next().is_pending());
        let _probe = scene.comes_in(HIGH);
        scene.world.dial_ok(ip(LOW));
        scene.panics(at);
        assert_eq!(scene.event().ip, ip(LOW), "{at:?}");
        assert_eq!(scene.status(LOW), Some(OutHandshaking));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_frees_its_slot_though_the_parked_one_panics_that_takes_it() {
    let mut scene = Scene::new(wanting(1), &[LOW]).await;
    let _probe = scene.comes_in(LOW);
    assert!(scene.net.poll_next().is_pending());
    for is_ok in [true, false] {
        assert_eq!(scene.status(LOW), Some(OutConnecting));
        match is_ok {
            true => drop(scene.world.dial_ok(ip(LOW))),
            false => scene.world.dial_err(ip(LOW), ErrorKind::ConnectionRefused.into()),
        }
        scene.panics(At::CheckAlive);
        assert!(!scene.event().is_outgoing);
        drop(scene.net.feedback_peer_closed(ip(LOW)));
        advance(seconds(60)).await;
        assert!(scene.net.poll_next().is_pending());
        let _probe = scene.comes_in(LOW);
        assert!(scene.net.poll_next().is_pending());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_is_handed_over_though_refusing_the_parked_one_panics() {
    let mut scene = Scene::new(wanting(1), &[HIGH]).await;
    let _probe = scene.comes_in(HIGH);
    assert!(scene.net.poll_next().is_pending());
    assert_eq!(scene.net.engine.parked.len(), 1);
    scene.world.dial_ok(ip(HIGH));
    scene.panics(At::Refuse);
    assert_eq!(scene.net.engine.parked.len(), 0);
    assert_eq!(scene.event().ip, ip(HIGH));
    assert_eq!(scene.status(HIGH), Some(OutHandshaking));
}

#[tokio::test(start_paused = true)]
async fn all_losers_are_called_off_though_one_panics_when_it_is_dropped() {
    const PEERS: [&str; 4] = ["60.1.0.1", "60.2.0.1", "60.3.0.1", "60.4.0.1"];
    let mut config = wanting(1);
    config.dial_stagger = Duration::ZERO;
    let mut scene = Scene::new(config, &PEERS).await;
    assert!(scene.net.poll_next().is_pending());
    assert_eq!(scene.world.dials().len(), 4);
    scene.world.dial_ok(ip(PEERS[0]));
    scene.panics(At::CallingOff);
    assert_eq!(scene.event().ip, ip(PEERS[0]));
    assert_eq!(scene.net.engine.dials.len(), 0);
    assert!(scene.world.dials().is_empty());
}
