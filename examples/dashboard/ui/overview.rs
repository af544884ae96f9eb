//! How full the caps are, and how often is dialed and accepted.

use std::collections::VecDeque;

use network::Usage;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::line;
use ratatui::text::Line;
use ratatui::widgets::{LineGauge, Paragraph, RenderDirection, Sparkline};

use super::section;
use crate::app::{App, accepts, refusals};

/// Two rules, three lines of gauges, two of rates.
pub(super) const HEIGHT: u16 = 7;

/// What stands before a sparkline.
const RATE_LABEL: u16 = 13;

pub(super) fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let [caps, rates] = Layout::vertical([Constraint::Length(4), Constraint::Length(3)]).areas(area);
    draw_caps(app, frame, caps);
    draw_rates(app, frame, rates);
}

fn draw_caps(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let stats = &app.stats;
    let columns = [
        [
            ("outgoing", stats.outgoing_connections, Color::Green),
            ("out pending", stats.outgoing_attempts, Color::Yellow),
            ("idle", stats.idle_peers, Color::Blue),
        ],
        [
            ("incoming", stats.incoming_connections, Color::Cyan),
            ("in pending", stats.incoming_attempts, Color::Yellow),
            ("banned", stats.banned_peers, Color::Red),
        ],
    ];
    let block = section(" caps ".bold().into());
    let areas = halves(block.inner(area));
    frame.render_widget(block, area);
    for (column, area) in columns.into_iter().zip(areas) {
        let rows = Layout::vertical([Constraint::Length(1); 3]).split(area);
        for ((name, usage, color), &row) in column.into_iter().zip(rows.iter()) {
            frame.render_widget(gauge(name, usage, color), row);
        }
    }
}

fn gauge(name: &str, usage: Usage, color: Color) -> LineGauge<'static> {
    let Usage { used, limit } = usage;
    LineGauge::default()
        .label(format!(" {name:<11}{used:>5}/{limit:<5}"))
        .ratio(ratio(usage))
        .filled_symbol(line::THICK_HORIZONTAL)
        .unfilled_symbol(line::HORIZONTAL)
        .filled_style(Style::new().fg(color))
        .unfilled_style(Style::new().fg(Color::DarkGray))
}

/// A cap of 0 is full. Connections may be more than a cap that was lowered.
fn ratio(usage: Usage) -> f64 {
    let [used, limit] = [usage.used, usage.limit].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    if limit == 0 {
        1.0
    } else {
        (f64::from(used) / f64::from(limit)).min(1.0)
    }
}

fn draw_rates(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let counters = &app.stats.counters;
    let dials = format!(
        " dials {}, {} failed, {} timed out ",
        counters.dials_started, counters.dials_failed, counters.dials_timed_out
    );
    let accepts = format!(" accepts {}, {} refused ", accepts(counters), refusals(counters));
    let [left, right] = halves(area);
    draw_rate(&app.rates.dials, Color::Green, dials, frame, left);
    draw_rate(&app.rates.accepts, Color::Cyan, accepts, frame, right);
}

fn draw_rate(rates: &VecDeque<u64>, color: Color, title: String, frame: &mut Frame<'_>, area: Rect) {
    let block = section(title.bold().into());
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [label, line] = Layout::horizontal([Constraint::Length(RATE_LABEL), Constraint::Fill(1)]).areas(inner);
    let now = rates.front().copied().unwrap_or_default();
    let highest = rates.iter().take(line.width.into()).max().copied().unwrap_or_default();
    let lines = vec![
        Line::from(format!(" {now}/s").fg(color).bold()),
        Line::from(format!(" most {highest}/s").dim()),
    ];
    frame.render_widget(Paragraph::new(lines), label);
    let newest_right = Sparkline::default()
        .data(rates.iter().take(line.width.into()))
        .direction(RenderDirection::RightToLeft)
        .style(Style::new().fg(color));
    frame.render_widget(newest_right, line);
}

fn halves(area: Rect) -> [Rect; 2] {
    Layout::horizontal([Constraint::Fill(1); 2]).spacing(1).areas(area)
}
