//! What becomes of connections when hosts end, come back, or cannot reach each other.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use network::Transport;
use network::sim::{Kill, Network};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use crate::pair::*;

#[test]
fn each_pair_of_hosts_has_a_usual_latency_of_5_to_145_ms_in_both_directions() {
    run(1, async |net: Network| {
        let hosts = [1, 2, 3, 4, 5, 6].map(|number| net.host(IpAddr::from([60, number, 0, 1])));
        let mut listeners = Vec::new();
        for host in &hosts {
            listeners.push(listen(host).await);
        }
        let mut times = BTreeSet::new();
        for (number, a) in hosts.iter().enumerate() {
            assert_eq!(time_of_dial(a, a).await, ms(0));
            for b in &hosts[number + 1..] {
                let time = time_of_dial(a, b).await;
                assert_eq!(time_of_dial(b, a).await, time);
                assert!((ms(10)..=ms(290)).contains(&time), "{time:?}");
                times.insert(time);
            }
        }
        assert!(times.len() > 10, "{times:?}");
    });
}

#[test]
fn an_address_without_a_host_and_a_dial_that_is_lost_get_no_answer() {
    run_pair(async |net, a, b, _accepting| {
        let absent = a.transport().dial(None, "70.0.0.1:4000".parse().unwrap());
        assert!(timeout(Duration::from_secs(100), absent).await.is_err());
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
fn a_silent_end_is_not_told_of() {
    run_pair(async |net, a, b, mut accepting| {
        let (mut one, other) = connect(&a, &b, &mut accepting).await;
        b.kill(Kill::Silent);
        drop((other, accepting));
        assert!(!b.is_up());
        assert_eq!(net.edges(), []);
        one.write_all(b"hello?").await.unwrap();
        assert!(timeout(Duration::from_secs(60), one.read(&mut [0; 4])).await.is_err());
        assert!(timeout(Duration::from_secs(5), dial(&a, &b)).await.is_err());
        // Back again, it knows nothing of the connection.
        b.start();
        let _accepting = listen(&b).await;
        one.write_all(b"hello?").await.unwrap();
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
fn a_kill_ends_what_waits_on_the_host() {
    run_pair(async |_, a, b, mut accepting| {
        let (one, mut other) = connect(&a, &b, &mut accepting).await;
        let kill = async {
            sleep(ms(500)).await;
            b.kill(Kill::Reset);
        };
        let mut read = [0; 4];
        let (outcome, ()) = futures::join!(other.read(&mut read), kill);
        assert_eq!(kind(&outcome), Some(ErrorKind::ConnectionAborted));
        assert!(accepting.next().await.is_none());
        assert_eq!(kind(&dial(&a, &b).await), Some(ErrorKind::ConnectionRefused));
        let _new = listen(&b).await;
        drop((one, accepting));
        assert!(dial(&a, &b).await.is_ok(), "the old listener does not end the new one");
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
#[should_panic(expected = "a task went wrong")]
fn a_panic_of_a_task_ends_the_run() {
    run_pair(async |_, a, _, _| {
        a.spawn(async { panic!("a task went wrong") });
        std::future::pending::<()>().await;
    });
}

#[test]
fn two_connections_of_a_pair_may_be_allowed_and_are_for_a_short_time() {
    run_pair(async |_, a, b, mut accepting| {
        let _one = connect(&a, &b, &mut accepting).await;
        let _two = connect(&a, &b, &mut accepting).await;
        sleep(Duration::from_secs(100)).await;
    });
    run(1, async |net: Network| {
        let [a, b] = [1, 2].map(|number| net.host(IpAddr::from([60, number, 0, 1])));
        let mut accepting = listen(&b).await;
        let _one = connect(&a, &b, &mut accepting).await;
        for _ in 0..2 {
            let two = connect(&a, &b, &mut accepting).await;
            sleep(Duration::from_secs(15)).await;
            drop(two);
            sleep(Duration::from_secs(5)).await;
        }
    });
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "60.1.0.1 and 60.2.0.1 hold two connections with each other")]
fn two_connections_of_a_pair_are_found() {
    run(1, async |net: Network| {
        let [a, b] = [1, 2].map(|number| net.host(IpAddr::from([60, number, 0, 1])));
        let mut accepting = listen(&b).await;
        let _one = connect(&a, &b, &mut accepting).await;
        let _two = connect(&a, &b, &mut accepting).await;
        sleep(Duration::from_secs(30)).await;
    });
}
#[test]
fn a_fin_to_a_host_that_has_started_anew_is_answered_by_a_reset() {
    run_pair(async |_, a, b, mut accepting| {
        let (mut one, _other) = connect(&a, &b, &mut accepting).await;
        b.kill(Kill::Silent);
        b.start();
        one.shutdown().await.unwrap();
        let outcome = one.read(&mut [0; 4]).await;
        assert_eq!(kind(&outcome), Some(ErrorKind::ConnectionReset));
    });
}
