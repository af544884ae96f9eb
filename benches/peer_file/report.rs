//! Measures by turns and prints a row.

use std::time::{Duration, Instant};

/// The size that the goals of time are about.
pub(crate) const GOAL_SIZE: usize = 1_000_000;

/// What a row is to reach: at most so many times what the baseline of this name takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit(pub(crate) f64, pub(crate) &'static str);

/// One kind of work at one size.
pub(crate) struct Row {
    pub(crate) work: &'static str,
    pub(crate) size: usize,
    pub(crate) rounds: usize,
    pub(crate) limit: Limit,
}

impl Row {
    /// Both warm up once and then take turns; each round begins with the other one.
    pub(crate) fn run(self, mut ours: impl FnMut(), mut theirs: impl FnMut()) {
        ours();
        theirs();
        let mut times = Vec::with_capacity(self.rounds);
        for round in 0..self.rounds {
            let mut pair = [0.0; 2];
            for turn in [round % 2, (round + 1) % 2] {
                let start = Instant::now();
                if turn == 0 {
                    ours();
                } else {
                    theirs();
                }
                pair[turn] = start.elapsed().as_secs_f64();
            }
            times.push(pair);
        }
        self.print(&times);
    }

    fn print(&self, times: &[[f64; 2]]) {
        let of = |which: usize| median(times.iter().map(|pair| pair[which]).collect());
        let ratio = median(times.iter().map(|[ours, theirs]| ours / theirs).collect());
        let Limit(limit, baseline) = self.limit;
        let (goal, is_met) = if self.size == GOAL_SIZE {
            (format!("{limit} × {baseline}"), verdict(ratio <= limit))
        } else {
            Default::default()
        };
        println!(
            "| {} | {} | {} | {} | {ratio:.2} | {goal} | {is_met} |",
            self.work,
            in_thousands(self.size),
            a_record(of(0), self.size),
            a_record(of(1), self.size),
        );
    }
}

pub(crate) fn print_head() {
    println!("| work | records | ours | baseline | ratio | goal | met |");
    println!("|---|--:|--:|--:|--:|---|---|");
}

pub(crate) fn print_bytes(work: &str, size: usize, ours: usize, theirs: usize, goal: usize) {
    let (goal, is_met) = (bytes(goal), verdict(ours < goal));
    let (size, ours, theirs) = (in_thousands(size), bytes(ours), bytes(theirs));
    println!("| {work} | {size} | {ours} | {theirs} | | under {goal} | {is_met} |");
}

pub(crate) fn print_time(work: &str, size: usize, ours: Duration, goal: Duration) {
    let is_met = verdict(ours <= goal);
    let (size, ours, goal) = (in_thousands(size), ours.as_micros(), goal.as_millis());
    println!("| {work} | {size} | {ours} µs | | | {goal} ms | {is_met} |");
}

pub(crate) fn print_count(work: &str, ours: usize, goal: usize) {
    println!("| {work} | | {ours} | | | {goal} | {} |", verdict(ours <= goal));
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "yes" } else { "**no**" }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn a_record(seconds: f64, size: usize) -> String {
    let size = f64::from(u32::try_from(size).expect("few"));
    format!("{:.0} ns", seconds * 1e9 / size)
}

fn bytes(count: usize) -> String {
    match count {
        0..10_240 => format!("{count} B"),
        10_240..10_485_760 => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}

fn in_thousands(size: usize) -> String {
    if size < 1_000_000 {
        format!("{} k", size / 1_000)
    } else {
        format!("{} M", size / 1_000_000)
    }
}
