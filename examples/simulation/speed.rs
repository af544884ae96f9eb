//! `speed`: how fast a network is simulated.

use std::fs;
use std::time::{Duration, Instant};

use clap::Args;
use network::sim::{self, Network};

use crate::experiment::Population;
use crate::options::{Common, minutes};
use crate::outcome::{Outcome, Value};
use crate::progress::Progress;

/// How fast a network is simulated, and how much memory it takes.
///
/// The time is that of this host, so these numbers differ from run to run; the trace hash does not.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "The experiment")]
pub struct Options {
    /// Virtual minutes to simulate
    #[arg(long, value_name = "MINUTES", default_value = "10", value_parser = minutes)]
    minutes: Duration,

    #[command(flatten)]
    common: Common,
}

/// Runs it.
#[must_use]
pub fn run(options: &Options, progress: &Progress) -> Outcome {
    let started = Instant::now();
    let mut outcome = Outcome::new("How fast a network is simulated", options.common.describe());
    sim::run(options.common.seed, async |net: Network| {
        let mut population = Population::new(&net, &options.common, progress, options.minutes);
        let ips = population.addresses.spread(options.common.nodes);
        population.plan(&ips, Duration::from_secs(60).min(options.minutes));
        population.run_until(options.minutes).await;
        outcome.add(
            "share_at_target",
            "nodes at their target",
            Value::Share(population.share_at_target()),
        );
        outcome.trace_hash = net.trace_hash();
    });
    let elapsed = started.elapsed();
    outcome.add("elapsed", "real time", Value::Seconds(elapsed.as_secs_f64()));
    let speed = options.minutes.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
    outcome.add(
        "virtual_seconds_per_second",
        "virtual seconds in a second",
        Value::Number(speed),
    );
    let memory = peak_memory_kib();
    outcome.add(
        "peak_memory_mib",
        "most memory at a time, in MiB",
        memory.map_or(Value::Never, |kib| Value::Number(kib / 1024.0)),
    );
    let node = memory.map_or(Value::Never, |kib| {
        Value::Number(kib / options.common.nodes.max(1) as f64)
    });
    outcome.add("memory_per_node_kib", "  a node, in KiB", node);
    outcome
}

/// Of this process, on Linux.
fn peak_memory_kib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
