//! What is on the screen during a run, as lines: a table of the nodes with two of them a line, and one bar a phase. It fits
//! into the terminal, if need be without some nodes, then without the table, then without the first phases.

/// One node in the table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) state: &'static str,
    pub(crate) out: usize,
    pub(crate) incoming: usize,
    pub(crate) known: usize,
    pub(crate) banned: usize,
    pub(crate) dials_per_second: u64,
}

/// A phase, and how far it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phase {
    pub(crate) name: String,
    /// What is counted.
    pub(crate) unit: &'static str,
    pub(crate) done: usize,
    pub(crate) of: usize,
    /// Once it is over.
    pub(crate) outcome: String,
}

/// What the columns of the table count.
const LEGEND: [&str; 2] = [
    "out, in: connections that are alive; known: peers in its list;",
    "banned: peers among them that it banned; dial/s: dials it starts in a second",
];
const HEADING: &str = "node       out  in known banned dial/s";
const GAP: &str = "   ";
const BAR: usize = 16;
/// The width of a phase with its bar, unless its name is long or it takes minutes.
const WITH_BAR: usize = 78;

/// The lines, for a terminal of this size. The last of its lines stays free for the cursor.
pub(crate) fn lines(rows: &[Row], phases: &[Phase], height: usize, width: usize) -> Vec<String> {
    let room = height.saturating_sub(1);
    let bars = &phases[phases.len().saturating_sub(room)..];
    let mut lines = table(rows, room - bars.len(), width);
    lines.extend(bars.iter().map(|phase| phase.text(width)));
    for line in &mut lines {
        // All of it is ASCII.
        line.truncate(width);
    }
    lines
}

/// The table in so many lines, an empty one at its end; nothing if that is too few.
fn table(rows: &[Row], room: usize, width: usize) -> Vec<String> {
    let beside = if width < 2 * HEADING.len() + GAP.len() { 1 } else { 2 };
    let around = LEGEND.len() + 2;
    if room <= around + 1 {
        return Vec::new();
    }
    let needed = rows.len().div_ceil(beside);
    let (shown, is_cut) = match room - around {
        room if needed <= room => (needed, false),
        room => (room - 1, true),
    };
    let mut lines: Vec<String> = LEGEND.map(str::to_owned).into();
    lines.push([HEADING; 2][..beside].join(GAP));
    let texts: Vec<String> = rows.iter().take(shown * beside).map(Row::text).collect();
    lines.extend((0..shown).map(|line| {
        let columns = texts.iter().skip(line).step_by(shown);
        columns.map(String::as_str).collect::<Vec<_>>().join(GAP)
    }));
    if is_cut {
        lines.push(format!("and {} more nodes", rows.len() - texts.len()));
    }
    lines.push(String::new());
    lines
}

impl Row {
    fn text(&self) -> String {
        format!(
            "{:<5}{:<6}{:>3}{:>4}{:>6}{:>7}{:>7}",
            self.name, self.state, self.out, self.incoming, self.known, self.banned, self.dials_per_second
        )
    }
}

impl Phase {
    fn text(&self, width: usize) -> String {
        let full = BAR * self.done.min(self.of) / self.of.max(1);
        let bar = format!("[{:<BAR$}] ", "=".repeat(full));
        // A narrow terminal has the numbers alone.
        let bar = if width < WITH_BAR { "" } else { &bar };
        let Self {
            name,
            unit,
            done,
            of,
            outcome,
        } = self;
        format!("{name:<25} {bar}{done:>2}/{of:<2} {unit:<17} {outcome}")
    }
}
