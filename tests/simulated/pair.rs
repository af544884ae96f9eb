//! Two hosts, and what tests do with them.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::StreamExt;
use network::sim::{self, Accepting, Host, Network, Socket};
use network::{Incoming, Transport};
use tokio::time::{Instant, timeout};

pub(crate) const PORT: u16 = 4000;
pub(crate) const LATENCY: Duration = Duration::from_millis(30);

pub(crate) fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// More virtual time than any test takes: one that waits for ever fails.
const LIMIT: Duration = Duration::from_secs(3_600);

/// A run that fails where the test waits for ever.
pub(crate) fn run<R>(seed: u64, test: impl AsyncFnOnce(Network) -> R) -> R {
    sim::run(seed, async |net| {
        let ended = timeout(LIMIT, test(net)).await;
        ended.expect("the test comes to its end")
    })
}

/// Two hosts, 30 ms from each other; the second one listens.
pub(crate) fn run_pair<R>(test: impl AsyncFnOnce(Network, Host, Host, Accepting) -> R) -> R {
    run(7, async |net: Network| {
        net.latency(|_, _| LATENCY);
        net.allow_parallel_connections();
        let [a, b] = [1, 2].map(|number| net.host(IpAddr::from([60, number, 0, 1])));
        let accepting = listen(&b).await;
        test(net, a, b, accepting).await
    })
}

pub(crate) async fn listen(host: &Host) -> Accepting {
    let at = SocketAddr::new(host.ip(), PORT);
    host.transport().listen(at).await.unwrap().0
}

pub(crate) async fn dial(from: &Host, to: &Host) -> io::Result<Socket> {
    let dialed = from.transport().dial(None, SocketAddr::new(to.ip(), PORT)).await?;
    assert_eq!(dialed.local_addr, dialed.socket.local_addr());
    Ok(dialed.socket)
}

pub(crate) async fn accept(accepting: &mut Accepting) -> Socket {
    accepting.next().await.unwrap().unwrap().admit().unwrap()
}

pub(crate) async fn connect(a: &Host, b: &Host, accepting: &mut Accepting) -> (Socket, Socket) {
    let (dialed, accepted) = futures::join!(dial(a, b), accept(accepting));
    (dialed.unwrap(), accepted)
}

pub(crate) fn kind<T>(outcome: &io::Result<T>) -> Option<ErrorKind> {
    outcome.as_ref().err().map(io::Error::kind)
}

/// How long a dial takes; nothing else is under way.
pub(crate) async fn time_of_dial(from: &Host, to: &Host) -> Duration {
    let begin = Instant::now();
    drop(dial(from, to).await.unwrap());
    begin.elapsed()
}
