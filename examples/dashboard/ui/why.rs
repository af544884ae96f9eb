//! The answer to why the selected peer is dialed or not, and its history.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Stylize;
use ratatui::text::Line;
use ratatui::widgets::{Padding, Paragraph, Wrap};

use super::section;
use crate::app::{App, Details};
use crate::words;

/// The rule, a reason of up to two lines, the status and the history.
pub(super) const HEIGHT: u16 = 5;

pub(super) fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let block = section(" why ".bold().into()).padding(Padding::left(1));
    let lines = match (&app.selected, &app.details) {
        (None, _) => vec!["select a peer".dim().into()],
        (Some(ip), Some(details)) if details.ip == *ip => answer(app, details),
        (Some(ip), _) => vec![format!("{ip}").bold().into()],
    };
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}

fn answer(app: &App, details: &Details) -> Vec<Line<'static>> {
    let reason = vec![format!("{}: ", details.ip).bold(), details.dial_state.clone().into()];
    let Some(peer) = &details.peer else {
        return vec![reason.into()];
    };
    let since = app.peers.get(details.ip).and_then(|row| row.since);
    let age = since.map(|since| format!(" for {}", words::age(since, app.now)));
    let status = format!(
        "{}{}, in {}",
        peer.status,
        age.unwrap_or_default(),
        words::subnet(peer.ip)
    );
    let history = format!(
        "alive {}, by a dial of ours {}; failed {}, {} times in a row",
        words::ago(peer.last_alive, app.now),
        words::ago(peer.last_alive_outgoing, app.now),
        words::ago(peer.last_failure, app.now),
        peer.failures_in_row,
    );
    vec![reason.into(), status.into(), history.into()]
}
