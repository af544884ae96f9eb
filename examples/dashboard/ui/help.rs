//! The list of keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout};
use ratatui::style::Stylize;
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Padding, Paragraph};

use crate::app::KEYS;

const WIDTH: u16 = 66;
const HEIGHT: u16 = 16;

/// Draws the keys over what is there.
pub(super) fn draw(frame: &mut Frame<'_>) {
    let [row] = Layout::vertical([Constraint::Max(HEIGHT)])
        .flex(Flex::Center)
        .areas(frame.area());
    let [area] = Layout::horizontal([Constraint::Max(WIDTH)])
        .flex(Flex::Center)
        .areas(row);
    let lines = KEYS.map(|(keys, what)| Line::from(vec![format!("{keys:<20}").bold(), what.into()]));
    let block = Block::bordered().title(" keys ".bold()).padding(Padding::horizontal(1));
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines.to_vec()).block(block), area);
}
