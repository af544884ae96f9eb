//! Measures by turns and prints a row.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Ours,
    /// A `HashMap` and a `BTreeSet`.
    Bare,
    /// A `HashMap`, scanned.
    Scan,
    /// A `HashMap`, copied and sorted.
    Sort,
    /// One look-up or update of a `HashMap`: what any way costs at least.
    Floor,
}

use Contender::{Bare, Floor, Ours, Scan, Sort};

const COLUMNS: [Contender; 5] = [Ours, Bare, Scan, Sort, Floor];

#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    None,
    /// At most so many times what this contender takes.
    Ratio(f64, Contender),
}

impl Goal {
    fn is_about(self, contender: Contender) -> bool {
        matches!(self, Self::Ratio(_, other) if other == contender)
    }
}

/// Nanoseconds for one of `times`.
pub(crate) fn timed<R>(times: usize, work: impl FnOnce() -> R) -> f64 {
    let start = Instant::now();
    black_box(work());
    let taken = start.elapsed();
    taken.as_secs_f64() * 1e9 / f64::from(u32::try_from(times).expect("few"))
}

/// One kind of work at one size, and who does it.
pub(crate) struct Row<'a> {
    work: &'static str,
    size: usize,
    goal: Goal,
    runs: Vec<(Contender, Box<dyn FnMut() -> f64 + 'a>)>,
}

impl<'a> Row<'a> {
    pub(crate) fn new(work: &'static str, size: usize, goal: Goal) -> Self {
        Self {
            work,
            size,
            goal,
            runs: Vec::new(),
        }
    }

    /// `run` returns nanoseconds.
    pub(crate) fn with(mut self, contender: Contender, run: impl FnMut() -> f64 + 'a) -> Self {
        self.runs.push((contender, Box::new(run)));
        self
    }

    /// Lets all warm up once, and then take turns; each round begins with another one. Those that look at all peers each
    /// time have their turns after the others have had all of theirs: they would leave nothing of them in the caches, and
    /// no goal is about them.
    pub(crate) fn run(mut self, rounds: usize) {
        let goal = self.goal;
        let sweeps = |contender| matches!(contender, Scan | Sort) && !goal.is_about(contender);
        let (sweeping, others): (Vec<_>, Vec<_>) = (0..self.runs.len()).partition(|&place| sweeps(self.runs[place].0));
        let mut times = vec![Vec::with_capacity(rounds); self.runs.len()];
        for places in [others, sweeping] {
            for &place in &places {
                (self.runs[place].1)();
            }
            for round in 0..rounds {
                for turn in 0..places.len() {
                    let place = places[(round + turn) % places.len()];
                    times[place].push((self.runs[place].1)());
                }
            }
        }
        self.print(&times);
    }

    fn print(&self, times: &[Vec<f64>]) {
        let of = |contender| {
            self.runs
                .iter()
                .position(|(other, _)| *other == contender)
                .map(|place| &times[place])
        };
        let ours = of(Ours).expect("every row is about us");
        let mut line = format!("| {} | {} |", self.work, in_thousands(self.size));
        for column in COLUMNS {
            let cell = of(column).map_or_else(String::new, |times| time(median(times.clone())));
            write!(line, " {cell} |").expect("a string takes what it is given");
        }
        let (ratio, goal, is_met) = match self.goal {
            Goal::None => (String::new(), String::new(), None),
            Goal::Ratio(limit, contender) => {
                let theirs = of(contender).expect("the goal's baseline runs");
                let ratio = median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect());
                (
                    format!("{ratio:.2}"),
                    format!("{limit} × {}", name(contender)),
                    Some(ratio <= limit),
                )
            }
        };
        println!("{line} {ratio} | {goal} | {} |", verdict(is_met));
    }
}

pub(crate) fn print_head() {
    println!(
        "| work | peers | ours | {} | ratio | goal | met |",
        COLUMNS[1..].iter().copied().map(name).collect::<Vec<_>>().join(" | ")
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|---|---|");
}

/// Bytes of the table, of the bare index and of a hash map.
pub(crate) fn print_memory(work: &str, size: usize, [ours, bare, map]: [usize; 3], goal: Option<usize>) {
    let goal_text = goal.map_or_else(String::new, |goal| format!("{goal} B"));
    let is_met = verdict(goal.map(|goal| ours <= goal));
    let size = in_thousands(size);
    println!("| {work} | {size} | {ours} B | {bare} B | | | {map} B | | {goal_text} | {is_met} |");
}

fn name(contender: Contender) -> &'static str {
    match contender {
        Ours => "ours",
        Bare => "bare index",
        Scan => "scan",
        Sort => "sort",
        Floor => "floor",
    }
}

fn verdict(is_met: Option<bool>) -> &'static str {
    match is_met {
        None => "",
        Some(true) => "yes",
        Some(false) => "**no**",
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn time(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        under if under < 1e3 => (under, "ns"),
        under if under < 1e6 => (under / 1e3, "µs"),
        rest => (rest / 1e6, "ms"),
    };
    if value < 10.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

fn in_thousands(size: usize) -> String {
    if size < 1_000_000 {
        format!("{} k", size / 1_000)
    } else {
        format!("{} M", size / 1_000_000)
    }
}
