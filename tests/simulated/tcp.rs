//! What the network in memory does of TCP.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use network::sim::{self, Accepting, Host, Kill, Network, Socket};
use network::{Incoming, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

const PORT: u16 = 4000;
const LATENCY: Duration = Duration::from_millis(30);

fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// Two hosts, 30 ms from each other; the second one listens.
fn run_pair<R>(test: impl AsyncFnOnce(Network, Host, Host, Accepting) -> R) -> R {
    sim::run(7, async |net| {
        net.latency(|_, _| LATENCY);
        net.allow_parallel_connections();
        let [a, b] = [1, 2].map(|number| net.host(IpAddr::from([60, number, 0, 1])));
        let accepting = listen(&b).await;
        test(net, a, b, accepting).await
    })
}

async fn listen(host: &Host) -> Accepting {
    let at = SocketAddr::new(host.ip(), PORT);
    host.transport().listen(at).await.unwrap().0
}

async fn dial(from: &Host, to: &Host) -> io::Result<Socket> {
    let dialed = from.transport().dial(None, SocketAddr::new(to.ip(), PORT)).await?;
    assert_eq!(dialed.local_addr, dialed.socket.local_addr());
    Ok(dialed.socket)
}

async fn accept(accepting: &mut Accepting) -> Socket {
    accepting.next().await.unwrap().unwrap().admit().unwrap()
}

async fn connect(a: &Host, b: &Host, accepting: &mut Accepting) -> (Socket, Socket) {
    let (dialed, accepted) = futures::join!(dial(a, b), accept(accepting));
    (dialed.unwrap(), accepted)
}

fn kind<T>(outcome: &io::Result<T>) -> Option<ErrorKind> {
    outcome.as_ref().err().map(io::Error::kind)
}

#[test]
fn a_dial_takes_two_latencies_and_an_accept_three() {
    run_pair(async |_, a, b, mut accepting| {
        let begin = Instant::now();
        let dialed = async { (dial(&a, &b).await.unwrap(), begin.elapsed()) };
        let accepted = async { (accept(&mut accepting).await, begin.elapsed()) };
        let ((one, dialed_at), (other, accepted_at)) = futures::join!(dialed, accepted);
        assert_eq!((dialed_at, accepted_at), (ms(60), ms(90)));
        assert_eq!(
            (one.local_addr(), one.peer_addr()),
            (other.peer_addr(), other.local_addr())
        );
        assert_eq!(one.local_addr().ip(), a.ip());
        assert_eq!(one.peer_addr(), SocketAddr::new(b.ip(), PORT));
    });
}

#[test]
fn bytes_arrive_whole_and_in_order_one_latency_later() {
    run_pair(async |_, a, b, mut accepting| {
        let (mut one, mut other) = connect(&a, &b, &mut accepting).await;
        let begin = Instant::now();
        one.write_all(b"first ").await.unwrap();
        one.write_all(b"second").await.unwrap();
        let mut read = [0; 12];
        other.read_exact(&mut read).await.unwrap();
        assert_eq!((&read, begin.elapsed()), (b"first second", LATENCY));
    });
}

#[test]
fn packets_of_one_direction_do_not_overtake_each_other() {
    run_pair(async |net, a, b, mut accepting| {
        let (mut one, mut other) = connect(&a, &b, &mut accepting).await;
        one.send(1_u8).await.unwrap();
        net.latency(|_, _| ms(1));
        one.send(2_u8).await.unwrap();
        assert_eq!(other.receive().await.unwrap(), Some(1_u8));
        assert_eq!(other.receive().await.unwrap(), Some(2_u8));
    });
}

#[test]
fn a_writer_waits_while_64_kib_are_unread() {
    run_pair(async |_, a, b, mut accepting| {
        let (mut one, mut other) = connect(&a, &b, &mut accepting).await;
        let sent = one.write(&vec![1; 100_000]).await.unwrap();
        assert_eq!(sent, 64 * 1024);
        assert!(one.write(&[2]).now_or_never().is_none());
        sleep(LATENCY).await;
        assert_eq!(other.read(&mut [0; 100]).await.unwrap(), 100);
        assert_eq!(one.write(&[2; 200]).await.unwrap(), 100);
    });
}

#[test]
fn dropping_a_socket_sends_a_fin_after_what_was_written() {
    run_pair(async |net, a, b, mut accepting| {
        let (mut one, mut other) = connect(&a, &b, &mut accepting).await;
        assert_eq!(net.edges(), [(a.ip(), b.ip())]);
        one.write_all(b"bye").await.unwrap();
        drop(one);
        assert_eq!(net.edges(), []);
        let mut read = Vec::new();
        other.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"bye");
        // What is sent to it now is answered by a reset, one latency each way.
        other.write_all(b"too late").await.unwrap();
        sleep(ms(59)).await;
        assert!(other.write(b"again").await.is_ok());
        sleep(ms(2)).await;
        assert_eq!(kind(&other.write(b"again").await), Some(ErrorKind::ConnectionReset));
    });
}

#[test]
fn dropping_a_socket_with_something_to_read_resets() {
    run_pair(async |_, a, b, mut accepting| {
        let (mut one, mut other) = connect(&a, &b, &mut accepting).await;
        other.write_all(b"unread").await.unwrap();
        sleep(LATENCY).await;
        drop(one.flush().await);
        drop(one);
        let outcome = other.read(&mut [0; 8]).await;
        assert_eq!(kind(&outcome), Some(ErrorKind::ConnectionReset));
    });
}

#[test]
fn shutting_down_closes_one_direction() {
    run_pair(async |_, a, b, mut accepting| {
        let (mut one, mut other) = connect(&a, &b, &mut accepting).await;
        one.shutdown().await.unwrap();
        assert_eq!(kind(&one.write(b"x").await), Some(ErrorKind::BrokenPipe));
        assert_eq!(other.read(&mut [0; 8]).await.unwrap(), 0);
        other.write_all(b"still").await.unwrap();
        let mut read = [0; 5];
        one.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"still");
    });
}

#[test]
fn a_reset_after_accept_is_seen_a_latency_later() {
    run_pair(async |_, a, b, mut accepting| {
        let mut one = dial(&a, &b).await.unwrap();
        let incoming = accepting.next().await.unwrap().unwrap();
        assert_eq!(incoming.remote_addr(), one.local_addr());
        let begin = Instant::now();
        incoming.refuse();
        let outcome = one.read(&mut [0; 8]).await;
        assert_eq!(
            (kind(&outcome), begin.elapsed()),
            (Some(ErrorKind::ConnectionReset), LATENCY)
        );
    });
}

#[test]
fn an_inbound_connection_whose_dialer_is_gone_is_dead() {
    run_pair(async |_, a, b, mut accepting| {
        drop(dial(&a, &b).await.unwrap());
        let incoming = accepting.next().await.unwrap().unwrap();
        assert!(incoming.check_alive().is_ok(), "a FIN is no error");
        let one = dial(&a, &b).await.unwrap();
        one.reset();
        sleep(ms(100)).await;
        let incoming = accepting.next().await.unwrap().unwrap();
        assert_eq!(kind(&incoming.check_alive()), Some(ErrorKind::ConnectionReset));
    });
}

#[test]
fn a_dial_that_is_called_off_never_comes_in() {
    run_pair(async |net, a, b, mut accepting| {
        let called_off = timeout(ms(59), dial(&a, &b)).await;
        assert!(called_off.is_err());
        assert!(timeout(ms(500), accepting.next()).await.is_err());
        assert_eq!(net.dials_per_second()[0].unanswered, 1);
    });
}

#[test]
fn without_a_listener_a_dial_is_refused_after_two_latencies() {
    run_pair(async |net, a, b, accepting| {
        drop(accepting);
        let begin = Instant::now();
        let outcome = dial(&a, &b).await;
        assert_eq!(
            (kind(&outcome), begin.elapsed()),
            (Some(ErrorKind::ConnectionRefused), ms(60))
        );
        assert_eq!(net.dials_per_second()[0].refused, 1);
    });
}

#[test]
fn the_end_of_a_listener_resets_what_waits_in_its_backlog() {
    run_pair(async |_, a, b, accepting| {
        let mut one = dial(&a, &b).await.unwrap();
        sleep(LATENCY).await;
        drop(accepting);
        let outcome = one.read(&mut [0; 8]).await;
        assert_eq!(kind(&outcome), Some(ErrorKind::ConnectionReset));
        let _bound_again = listen(&b).await;
    });
}

#[test]
fn a_port_is_bound_once_and_only_on_the_host_s_own_address() {
    run_pair(async |_, a, b, _accepting| {
        let at = |ip| SocketAddr::new(ip, PORT);
        let outcome = b.transport().listen(at(b.ip())).await;
        assert_eq!(kind(&outcome), Some(ErrorKind::AddrInUse));
        let outcome = b.transport().listen(at(a.ip())).await;
        assert_eq!(kind(&outcome), Some(ErrorKind::AddrNotAvailable));
        let outcome = a.transport().dial(Some(b.ip()), at(b.ip())).await;
        assert_eq!(kind(&outcome), Some(ErrorKind::AddrNotAvailable));
        let (_accepting, bound) = a.transport().listen("[::]:0".parse().unwrap()).await.unwrap();
        assert_ne!(bound.port(), 0);
    });
}

#[test]
fn an_address_of_nobody_and_a_dial_that_is_lost_get_no_answer() {
    run_pair(async |net, a, b, _accepting| {
        let nobody = a.transport().dial(None, "70.0.0.1:4000".parse().unwrap());
        assert!(timeout(Duration::from_secs(100), nobody).await.is_err());
        net.dial_loss(1.0);
        assert!(timeout(Duration::from_secs(100), dial(&a, &b)).await.is_err());
        net.dial_loss(0.5);
        let mut connected = 0;
        for _ in 0..100 {
            connected += u32::from(timeout(ms(100), dial(&a, &b)).await.is_ok());
        }
        assert!((30..70).contains(&connected), "{connected} of 100");
    });
}

#[test]
fn a_full_backlog_delays_a_dial_by_a_second() {
    run_pair(async |_, a, b, mut accepting| {
        b.backlog(1);
        let _first = dial(&a, &b).await.unwrap();
        let begin = Instant::now();
        let second = dial(&a, &b);
        let drain = async {
            sleep(ms(500)).await;
            accepting.next().await
        };
        let (second, _drained) = futures::join!(second, drain);
        assert!(second.is_ok());
        assert_eq!(begin.elapsed(), ms(1060));
    });
}

#[test]
fn a_dial_that_found_a_full_backlog_gets_no_answer_once_the_host_is_down() {
    run_pair(async |_, a, b, _accepting| {
        b.backlog(0);
        let dial = timeout(Duration::from_secs(100), dial(&a, &b));
        let kill = async {
            sleep(ms(500)).await;
            b.kill(Kill::Silent);
        };
        let (outcome, ()) = futures::join!(dial, kill);
        assert!(outcome.is_err());
    });
}

#[test]
fn a_partition_holds_what_is_sent_until_it_is_healed() {
    run_pair(async |net, a, b, mut accepting| {
        let (mut one, mut other) = connect(&a, &b, &mut accepting).await;
        let first = a.ip();
        net.partition(move |ip| ip == first);
        assert_eq!(net.edges(), [], "it works no more");
        one.write_all(b"held").await.unwrap();
        assert!(timeout(Duration::from_secs(60), other.read(&mut [0; 4])).await.is_err());
        assert!(timeout(Duration::from_secs(5), dial(&a, &b)).await.is_err());
        net.heal();
        assert_eq!(net.edges().len(), 1);
        let begin = Instant::now();
        assert_eq!(other.read(&mut [0; 4]).await.unwrap(), 4);
        assert_eq!(begin.elapsed(), LATENCY);
        assert!(accepting.next().now_or_never().is_none(), "the dial was given up");
    });
}

#[test]
fn of_a_silent_end_nobody_is_told() {
    run_pair(async |net, a, b, mut accepting| {
        let (mut one, other) = connect(&a, &b, &mut accepting).await;
        b.kill(Kill::Silent);
        drop((other, accepting));
        assert!(!b.is_up());
        assert_eq!(net.edges(), []);
        one.write_all(b"anybody?").await.unwrap();
        assert!(timeout(Duration::from_secs(60), one.read(&mut [0; 4])).await.is_err());
        assert!(timeout(Duration::from_secs(5), dial(&a, &b)).await.is_err());
        // Back again, it knows nothing of the connection.
        b.start();
        let _accepting = listen(&b).await;
        one.write_all(b"anybody?").await.unwrap();
        let begin = Instant::now();
        let outcome = one.read(&mut [0; 4]).await;
        assert_eq!(
            (kind(&outcome), begin.elapsed()),
            (Some(ErrorKind::ConnectionReset), ms(60))
        );
        assert!(dial(&a, &b).await.is_ok());
    });
}

#[test]
fn a_killed_process_resets_its_connections_and_refuses_dials() {
    run_pair(async |_, a, b, mut accepting| {
        let (mut one, other) = connect(&a, &b, &mut accepting).await;
        let task_ended = std::rc::Rc::new(());
        let held = task_ended.clone();
        b.spawn(async move {
            let _held = (held, other, accepting);
            std::future::pending::<()>().await;
        });
        b.kill(Kill::Reset);
        let outcome = one.read(&mut [0; 4]).await;
        assert_eq!(kind(&outcome), Some(ErrorKind::ConnectionReset));
        assert_eq!(std::rc::Rc::strong_count(&task_ended), 1, "its tasks have ended");
        assert_eq!(kind(&dial(&a, &b).await), Some(ErrorKind::ConnectionRefused));
        assert!(b.is_up());
        let _accepting = listen(&b).await;
        assert!(dial(&a, &b).await.is_ok());
    });
}

#[test]
fn what_ran_on_a_killed_host_can_do_nothing_any_more() {
    run_pair(async |_, a, b, mut accepting| {
        let (mut one, _other) = connect(&a, &b, &mut accepting).await;
        let mut old = a.transport();
        a.kill(Kill::Reset);
        assert_eq!(kind(&one.write(b"x").await), Some(ErrorKind::ConnectionAborted));
        assert!(old.dial(None, SocketAddr::new(b.ip(), PORT)).now_or_never().is_none());
        assert_eq!(
            kind(&old.listen(SocketAddr::new(a.ip(), PORT)).await),
            Some(ErrorKind::NetworkDown)
        );
        assert!(dial(&a, &b).await.is_ok(), "what starts there anew can");
    });
}

#[test]
fn messages_and_bytes_do_not_mix() {
    run_pair(async |_, a, b, mut accepting| {
        let (mut one, mut other) = connect(&a, &b, &mut accepting).await;
        one.send(5_u32).await.unwrap();
        let outcome = other.read(&mut [0; 4]).await;
        assert_eq!(kind(&outcome), Some(ErrorKind::InvalidData));
        assert_eq!(kind(&other.receive::<u64>().await), Some(ErrorKind::InvalidData));
        one.write_all(b"bytes").await.unwrap();
        assert_eq!(kind(&other.receive::<u32>().await), Some(ErrorKind::InvalidData));
    });
}

#[test]
fn a_message_counts_as_a_kibibyte_of_what_may_be_unread() {
    run_pair(async |_, a, b, mut accepting| {
        let (mut one, mut other) = connect(&a, &b, &mut accepting).await;
        for number in 0..64_u32 {
            one.send(number).now_or_never().unwrap().unwrap();
        }
        assert!(one.send(64_u32).now_or_never().is_none());
        assert_eq!(other.receive::<u32>().await.unwrap(), Some(0));
        one.send(64_u32).now_or_never().unwrap().unwrap();
    });
}

#[test]
#[should_panic(expected = "a task went wrong")]
fn a_panic_of_a_task_ends_the_run() {
    run_pair(async |_, a, _, _| {
        a.spawn(async { panic!("a task went wrong") });
        std::future::pending::<()>().await;
    });
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "60.1.0.1 and 60.2.0.1 hold two connections with each other")]
fn two_connections_of_a_pair_are_found() {
    sim::run(1, async |net: Network| {
        let [a, b] = [1, 2].map(|number| net.host(IpAddr::from([60, number, 0, 1])));
        let mut accepting = listen(&b).await;
        let _one = connect(&a, &b, &mut accepting).await;
        let _two = connect(&a, &b, &mut accepting).await;
        sleep(Duration::from_secs(30)).await;
    });
}
