//! Feature `metrics`: the numbers of [`Stats`] in the recorder of the `metrics` facade.
//!
//! The recorder is the one that is installed when the controller is made. Names and descriptions are those of
//! [`Stats::open_metrics`]; the label `listen` tells the controllers of one process apart.

use std::fmt;
use std::net::SocketAddr;

use metrics::{Counter, Gauge, Label, counter, describe_counter, describe_gauge, gauge};

use crate::stats::Stats;
use crate::stats::metrics::{Kind, Metric, PREFIX};

pub(crate) struct Recorder {
    /// What was last recorded, if anything was.
    last: Option<Stats>,
    /// In the order of [`Stats::metrics`], each with the value that was last recorded.
    recorded: Vec<(Handle, Option<u64>)>,
}

enum Handle {
    Counter(Counter),
    Gauge(Gauge),
}

impl Recorder {
    pub(super) fn new(listen: SocketAddr) -> Self {
        let listen = listen.to_string();
        let metrics = Stats::default();
        let recorded = metrics.metrics().map(|metric| (handle(&metric, &listen), None));
        Self {
            recorded: recorded.collect(),
            last: None,
        }
    }

    /// Records what has changed. Most polls change nothing.
    pub(super) fn record(&mut self, stats: Stats) {
        if self.last.as_ref() != Some(&stats) {
            self.record_each(&stats);
            self.last = Some(stats);
        }
    }

    fn record_each(&mut self, stats: &Stats) {
        for ((handle, recorded), metric) in self.recorded.iter_mut().zip(stats.metrics()) {
            if recorded.replace(metric.value) == Some(metric.value) {
                continue;
            }
            match handle {
                Handle::Counter(counter) => counter.absolute(metric.value),
                #[expect(clippy::cast_precision_loss, reason = "the facade takes no other numbers")]
                Handle::Gauge(gauge) => gauge.set(metric.value as f64),
            }
        }
    }
}

fn handle(metric: &Metric, listen: &str) -> Handle {
    let name = format!("{PREFIX}{}", metric.name);
    let mut labels = vec![Label::new("listen", listen.to_owned())];
    labels.extend(
        metric
            .label
            .map(|(label, value)| Label::from_static_parts(label, value)),
    );
    match metric.kind {
        Kind::Counter => {
            describe_counter!(name.clone(), metric.help());
            Handle::Counter(counter!(name, labels))
        }
        Kind::Gauge => {
            describe_gauge!(name.clone(), metric.help());
            Handle::Gauge(gauge!(name, labels))
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}
