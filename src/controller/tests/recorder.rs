//! What stands in the recorder of the `metrics` facade.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit, with_local_recorder};

use super::*;

/// Every counter and gauge by its name and labels; gauges as the bits of their numbers.
#[derive(Default)]
struct Keeper {
    counters: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    gauges: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    described: Mutex<BTreeMap<String, String>>,
}

fn name(key: &Key) -> String {
    let labels = key.labels().map(|label| format!("{}={}", label.key(), label.value()));
    format!("{}{{{}}}", key.name(), labels.collect::<Vec<_>>().join(","))
}

impl Keeper {
    fn describe(&self, key: &KeyName, description: &SharedString) {
        let described = description.to_string();
        self.described
            .lock()
            .unwrap()
            .insert(key.as_str().to_owned(), described);
    }

    fn counter(&self, name: &str) -> u64 {
        self.counters.lock().unwrap()[name].load(Ordering::Relaxed)
    }

    fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.gauges.lock().unwrap()[name].load(Ordering::Relaxed))
    }
}

impl metrics::Recorder for Keeper {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&key, &description);
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&key, &description);
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let counter = Arc::clone(self.counters.lock().unwrap().entry(name(key)).or_default());
        Counter::from_arc(counter)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::clone(self.gauges.lock().unwrap().entry(name(key)).or_default()))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test(start_paused = true)]
async fn the_recorder_has_what_the_stats_say() {
    let keeper = Keeper::default();
    let (transport, world) = memory();
    let mut making = task::spawn(Box::pin(NetworkController::with_transport(passive(), transport)));
    let made = with_local_recorder(&keeper, || making.poll());
    let Poll::Ready(Ok(net)) = made else {
        panic!("a controller without a file is made at once");
    };
    let listen = net.local_addr();
    let mut node = Node {
        net: task::spawn(net),
        world,
        last_port: 30_000,
        events: VecDeque::new(),
    };
    node.settle();
    let _socket = node.admits(LOW);
    node.refuses(LOW);
    node.ban(HIGH);
    let stats = node.stats();
    for (name, value) in stats.counters.iter() {
        assert_eq!(
            keeper.counter(&format!("network_{name}{{listen={listen}}}")),
            value,
            "{name}"
        );
    }
    for (status, count) in stats.peers.iter() {
        let gauge = keeper.gauge(&format!("network_peers{{listen={listen},status={status}}}"));
        assert_eq!(gauge, f64::from(u32::try_from(count).unwrap()), "{status}");
    }
    let limit = keeper.gauge(&format!("network_incoming_connections_limit{{listen={listen}}}"));
    assert_eq!(
        limit,
        f64::from(u32::try_from(stats.incoming_connections.limit).unwrap())
    );
    let described = keeper.described.lock().unwrap();
    assert_eq!(described["network_dials_started"], "Dials that were started.");
    assert!(
        stats
            .metrics()
            .all(|metric| described.contains_key(&format!("network_{}", metric.name)))
    );
}
