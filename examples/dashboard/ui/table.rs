//! The table of peers.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Modifier, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table, TableState};

use super::{cause, change_color, color, section};
use crate::app::{App, Row, View};
use crate::words;

pub(super) fn draw(app: &App, frame: &mut Frame<'_>, area: Rect, title: Line<'_>) {
    let block = section(title);
    let rows = app.peers.rows(app.view);
    if rows.is_empty() {
        return frame.render_widget(Paragraph::new(nothing(app.view).dim()).block(block), area);
    }
    // One line is the heading.
    let lines = usize::from(block.inner(area).height.saturating_sub(1));
    let selected = app.selected.and_then(|ip| rows.iter().position(|row| row.ip == ip));
    let first = first_line(selected, rows.len(), lines);
    let shown = &rows[first..rows.len().min(first + lines)];
    let table = Table::new(shown.iter().map(|row| line(app, row)), widths(shown, area.width))
        .header(TableRow::new(["", "dir", "status", "age", "peer", "subnet", "last event"]).dim())
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(block);
    let mut state = TableState::new().with_selected(selected.map(|row| row - first));
    frame.render_stateful_widget(table, area, &mut state);
}

/// The first row that is shown: the selected one stands in the middle, unless the list ends.
fn first_line(selected: Option<usize>, rows: usize, lines: usize) -> usize {
    let middle = selected.unwrap_or(0).saturating_sub(lines / 2);
    middle.min(rows.saturating_sub(lines))
}

fn nothing(view: View) -> &'static str {
    match view {
        View::Connected => " no peer is connected",
        View::Idle => " no peer is idle",
        View::Banned => " no peer is banned",
        View::Log => "",
    }
}

/// The least room for the last event beside the subnet.
const EVENT: usize = 20;

/// The address has the room that the longest one needs, the last event what is left. Where that is too little, there is
/// no subnet, which can be read off the address.
fn widths(shown: &[&Row], width: u16) -> [Constraint; 7] {
    let addresses = shown.iter().map(|row| row.ip.to_string().len()).max().unwrap_or(0) + 1;
    let subnets = shown.iter().map(|row| words::subnet(row.ip).len()).max().unwrap_or(0) + 1;
    let [mark, direction, status, age] = [1, 3, 10, 4];
    let gaps = 6;
    let used = mark + direction + status + age + addresses + subnets + gaps;
    let subnets = if used + EVENT > width.into() { 0 } else { subnets };
    let length = |width: usize| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX));
    [
        length(mark),
        length(direction),
        length(status),
        length(age),
        length(addresses),
        length(subnets),
        Constraint::Fill(1),
    ]
}

fn line<'a>(app: &App, row: &Row) -> TableRow<'a> {
    let (direction, status) = words::direction_and_status(row.status);
    let reserved = if app.reserved.contains(&row.ip) { "R" } else { "" };
    let age = row
        .since
        .map_or_else(|| "-".to_owned(), |since| words::age(since, app.now));
    let style = Style::new().fg(color(row.status));
    TableRow::new([
        Cell::new(reserved.bold()),
        Cell::new(direction).style(style),
        Cell::new(status).style(style),
        Cell::new(Line::from(age).right_aligned()),
        Cell::new(row.ip.to_string()).style(style),
        Cell::new(words::subnet(row.ip)),
        event(app, row),
    ])
}

fn event<'a>(app: &App, row: &Row) -> Cell<'a> {
    match row.event {
        Some((at, kind)) => {
            let ago = format!("{:>3} ", words::age(at, app.now)).dim();
            Cell::new(Line::from(vec![ago, cause(kind).fg(change_color(kind))]))
        }
        None => Cell::default(),
    }
}
