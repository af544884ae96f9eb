//! The log of changes.

use network::ChangeKind;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Stylize;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::{change_color, section};
use crate::app::{App, Entry};

pub(super) fn draw(app: &App, frame: &mut Frame<'_>, area: Rect, title: Line<'_>) {
    let block = section(title);
    let lines: Vec<_> = app.log.visible(block.inner(area).height.into()).map(line).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn line(entry: &Entry) -> Line<'static> {
    let time = format!(" {} ", entry.at.format("%H:%M:%S")).dim();
    let peer = match entry.kind {
        ChangeKind::Lagged(_) => String::new(),
        _ => format!("{:<15} ", entry.ip),
    };
    let what = entry.kind.to_string().fg(change_color(entry.kind));
    Line::from(vec![time, peer.into(), what])
}
