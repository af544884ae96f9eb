//! What the network in memory does of TCP.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use network::sim::Kill;
use network::{Incoming, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use crate::pair::*;

#[test]
fn a_dial_takes_two_latencies_and_an_accept_three() {
    run_pair(async |net, a, b, mut accepting| {
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
        let counts = net.dials_per_second()[0];
        assert_eq!((counts.started, counts.connected), (1, 1));
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
fn a_writer_is_woken_when_there_is_room() {
    run_pair(async |_, a, b, mut accepting| {
        let (mut one, mut other) = connect(&a, &b, &mut accepting).await;
        // In a task, which is polled only when it is woken.
        a.spawn(async move {
            one.write_all(&vec![1; 100_000]).await.unwrap();
            std::future::pending::<()>().await;
        });
        assert_eq!(other.read_exact(&mut vec![0; 100_000]).await.unwrap(), 100_000);
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
        sleep(ms(40)).await;
        drop(one.flush().await);
        drop(one);
        let outcome = other.read(&mut [0; 8]).await;
        assert_eq!(kind(&outcome), Some(ErrorKind::ConnectionReset));
    });
}

#[test]
fn shutting_down_closes_one_direction() {
    run_pair(async |net, a, b, mut accepting| {
        let (mut one, mut other) = connect(&a, &b, &mut accepting).await;
        one.shutdown().await.unwrap();
        assert_eq!(net.edges(), [], "it is closed at one end");
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
        assert_eq!(kind(&incoming.admit()), Some(ErrorKind::ConnectionReset));
    });
}

#[test]
fn a_dial_that_is_called_off_never_comes_in() {
    run_pair(async |net, a, b, mut accepting| {
        b.backlog(1);
        let called_off = timeout(ms(59), dial(&a, &b)).await;
        assert!(called_off.is_err());
        assert!(timeout(ms(500), accepting.next()).await.is_err());
        assert_eq!(net.dials_per_second()[0].unanswered, 1);
        assert_eq!(time_of_dial(&a, &b).await, ms(60), "it has left the backlog");
    });
}

#[test]
fn what_was_sent_on_an_old_connection_does_not_reach_a_new_one() {
    run_pair(async |_, a, b, mut accepting| {
        let (one, other) = connect(&a, &b, &mut accepting).await;
        other.reset();
        drop(one);
        assert!(dial(&a, &b).await.is_ok(), "the reset is for the connection before");
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
        sleep(ms(40)).await;
        drop(accepting);
        let outcome = one.read(&mut [0; 8]).await;
        assert_eq!(kind(&outcome), Some(ErrorKind::ConnectionReset));
        let _bound_again = listen(&b).await;
    });
}

#[test]
fn an_accepted_connection_outlives_its_listener() {
    run_pair(async |_, a, b, mut accepting| {
        let mut one = dial(&a, &b).await.unwrap();
        let incoming = accepting.next().await.unwrap().unwrap();
        drop(accepting);
        sleep(LATENCY).await;
        incoming.admit().unwrap().write_all(b"still").await.unwrap();
        assert_eq!(one.read(&mut [0; 8]).await.unwrap(), 5);
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
fn what_is_connecting_counts_in_the_backlog() {
    run_pair(async |_, a, b, _accepting| {
        b.backlog(1);
        let begin = Instant::now();
        let timed = async || (dial(&a, &b).await.map(drop), begin.elapsed());
        let ((first, first_at), second) = futures::join!(timed(), timeout(ms(900), timed()));
        assert!(first.is_ok() && second.is_err());
        assert_eq!(first_at, ms(60));
    });
}

#[test]
fn the_pause_before_another_syn_doubles() {
    run_pair(async |_, a, b, _accepting| {
        b.backlog(0);
        let make_room = async {
            sleep(ms(3_500)).await;
            b.backlog(1);
        };
        let (time, ()) = futures::join!(time_of_dial(&a, &b), make_room);
        assert_eq!(time, ms(60 + 1_000 + 2_000 + 4_000));
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
