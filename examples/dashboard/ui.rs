//! Draws the [`App`].

mod help;
mod log;
mod overview;
mod table;
#[cfg(test)]
mod tests;
mod why;

use network::{Cause, ChangeKind, PeerStatus};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders};

use crate::app::{App, View};
use crate::words;

/// Draws everything.
pub(crate) fn draw(app: &App, frame: &mut Frame<'_>) {
    let parts = [
        Constraint::Length(1),
        Constraint::Length(overview::HEIGHT),
        Constraint::Fill(3),
        Constraint::Length(if app.is_why_open { why::HEIGHT } else { 0 }),
        // The view of the log needs no second log below it.
        Constraint::Fill(if app.view == View::Log { 0 } else { 2 }),
        Constraint::Length(1),
    ];
    let [header, overview, main, why, log, footer] = Layout::vertical(parts).areas(frame.area());
    draw_header(app, frame, header);
    overview::draw(app, frame, overview);
    match app.view {
        View::Log => log::draw(app, frame, main, tabs(app)),
        _ => table::draw(app, frame, main, tabs(app)),
    }
    why::draw(app, frame, why);
    log::draw(app, frame, log, " log ".bold().into());
    draw_footer(app, frame, footer);
    if app.is_help_open {
        help::draw(frame);
    }
}

/// A part of the screen below a rule with its title.
fn section(title: Line<'_>) -> Block<'_> {
    Block::new()
        .borders(Borders::TOP)
        .border_style(Style::new().fg(Color::DarkGray))
        .title(title)
        .title_style(Style::new().fg(Color::Reset))
}

fn draw_header(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let peers = &app.stats.peers;
    let numbers = format!(
        "  {} out, {} in, {} known, {} banned",
        peers.out_alive,
        peers.in_alive,
        peers.total(),
        peers.banned,
    );
    let paused = if app.is_paused { " paused " } else { "" };
    let left = Line::from(vec![
        " network ".bold().reversed(),
        paused.yellow().bold().reversed(),
        format!(" {}", app.address).bold(),
        format!("  up {}", words::age(app.started, app.now)).into(),
        numbers.into(),
    ]);
    let right = match (&app.stats.last_dump_error, app.stats.last_dump) {
        (Some(error), _) => format!("no dump: {error}").red().bold(),
        (None, Some(at)) => format!("dumped {}", words::ago(Some(at), app.now)).dim(),
        (None, None) => Span::default(),
    };
    draw_ends(frame, area, left, right.into());
}

/// Draws two texts at the ends of a line; the left one is cut if there is not room for both.
fn draw_ends(frame: &mut Frame<'_>, area: Rect, left: Line<'_>, right: Line<'_>) {
    let width = u16::try_from(right.width()).unwrap_or(u16::MAX).min(area.width);
    let [left_area, _, right_area] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(1), Constraint::Length(width)]).areas(area);
    frame.render_widget(left, left_area);
    frame.render_widget(right, right_area);
}

/// The views with their keys and sizes, the present one bold.
fn tabs(app: &App) -> Line<'static> {
    let tabs = View::ALL.into_iter().zip(1..).flat_map(|(view, key)| {
        let count = match view {
            View::Log => app.log.len(),
            _ => app.peers.count(view),
        };
        let text = format!(" {key} {} {count} ", view.title());
        let tab = if view == app.view {
            text.bold().reversed()
        } else {
            text.into()
        };
        [tab, " ".into()]
    });
    tabs.collect()
}

fn draw_footer(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let left = match (&app.prompt, app.notice()) {
        (Some(typed), _) => Line::from(vec![" dial: ".bold(), typed.clone().into(), "_".slow_blink()]),
        (None, Some(notice)) => Line::from(format!(" {notice}").yellow()),
        (None, None) => hints(app),
    };
    draw_ends(frame, area, left, "? keys  q quit ".dim().into());
}

fn hints(app: &App) -> Line<'static> {
    let keys = "b ban  u unban  d dial  r R reserve  w why".dim();
    match app.selected {
        Some(ip) => Line::from(vec![format!(" {ip} ").bold(), keys]),
        None => Line::from(" Up Down select a peer  Tab view  a dial an address  p pause".dim()),
    }
}

/// The colour of a status, the same everywhere.
fn color(status: PeerStatus) -> Color {
    match status {
        PeerStatus::OutAlive => Color::Green,
        PeerStatus::InAlive => Color::Cyan,
        PeerStatus::OutConnecting | PeerStatus::OutHandshaking | PeerStatus::InHandshaking => Color::Yellow,
        PeerStatus::Idle => Color::Reset,
        PeerStatus::Banned => Color::Red,
    }
}

/// The colour of what happened: that of the new status, or of what went wrong.
fn change_color(kind: ChangeKind) -> Color {
    match kind {
        ChangeKind::Status {
            cause: Cause::Failed(_) | Cause::DialFailed(_) | Cause::DialUnroutable(_) | Cause::HandshakeTimedOut,
            ..
        } => Color::Magenta,
        ChangeKind::Status {
            cause: Cause::DialHostFault(_),
            ..
        }
        | ChangeKind::Lagged(_) => Color::Red,
        ChangeKind::Status { to, .. } => color(to),
        ChangeKind::Refused(_) => Color::Magenta,
        _ => Color::Reset,
    }
}

/// What happened, in the words of its cause.
fn cause(kind: ChangeKind) -> String {
    match kind {
        ChangeKind::Status { cause, .. } => cause.to_string(),
        kind => kind.to_string(),
    }
}
