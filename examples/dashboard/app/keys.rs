//! What each key does.

use std::net::IpAddr;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{App, View};

/// What a key asks of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Quit,
    /// For [`BAN`](super::BAN).
    Ban(IpAddr),
    Unban(IpAddr),
    Dial(IpAddr),
    Reserve(IpAddr),
    Release(IpAddr),
    /// No dial for the target, and no new incoming connection.
    Pause,
    /// The caps of the start again.
    Resume,
}

/// Each key, and what it does.
pub(crate) const KEYS: [(&str, &str); 14] = [
    ("Tab 1 2 3 4", "the next view, or one of them"),
    ("Up Down k j", "select a peer; scroll the log"),
    ("PgUp PgDn Home End", "the same, further"),
    ("w Enter", "why the selected peer is dialed, or not"),
    ("b", "ban it for a day"),
    ("u", "lift its ban"),
    ("d", "dial it once, now"),
    ("a", "dial an address that you type"),
    ("r", "reserve it: keep a connection with it"),
    ("R", "release it: reserve it no more"),
    ("p", "pause: no new connections; go on"),
    ("Esc", "select no peer, close what is open"),
    ("?", "these keys"),
    ("q Ctrl-C", "quit"),
];

/// What PgUp and PgDn move by.
const PAGE: isize = 10;

/// No address is longer, with a zone and an IPv4 address in its end.
const MAX_ADDRESS: usize = 45;

impl App {
    /// Does what a key says. Returns what is to be asked of the node.
    pub(crate) fn on_key(&mut self, key: KeyEvent) -> Option<Command> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => Some(Command::Quit),
            _ if is_control => None,
            code if self.prompt.is_some() => self.on_prompt_key(code),
            // The key that closes the list does nothing else.
            code if self.is_help_open && code != KeyCode::Char('q') => {
                self.is_help_open = false;
                None
            }
            KeyCode::Char('p') => Some(self.pause_or_resume()),
            code => self.on_view_key(code).or_else(|| self.on_peer_key(code)),
        }
    }

    fn pause_or_resume(&mut self) -> Command {
        self.is_paused = !self.is_paused;
        self.announce(if self.is_paused {
            Command::Pause
        } else {
            Command::Resume
        })
    }

    /// A key that changes what is shown, or quits.
    fn on_view_key(&mut self, code: KeyCode) -> Option<Command> {
        match code {
            KeyCode::Char('q') => return Some(Command::Quit),
            KeyCode::Char('?') => self.is_help_open = true,
            KeyCode::Char('w') | KeyCode::Enter => self.is_why_open = !self.is_why_open,
            KeyCode::Char('a') => self.prompt = Some(String::new()),
            KeyCode::Esc => self.close_or_deselect(),
            KeyCode::Tab => self.show(self.neighbour_view(1)),
            KeyCode::BackTab => self.show(self.neighbour_view(View::ALL.len() - 1)),
            KeyCode::Char(digit @ '1'..='4') => self.show(View::ALL[digit as usize - '1' as usize]),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-PAGE),
            KeyCode::PageDown => self.step(PAGE),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End => self.step(isize::MAX),
            _ => {}
        }
        None
    }

    /// A key about the selected peer.
    fn on_peer_key(&mut self, code: KeyCode) -> Option<Command> {
        let command: fn(IpAddr) -> Command = match code {
            KeyCode::Char('b') => Command::Ban,
            KeyCode::Char('u') => Command::Unban,
            KeyCode::Char('d') => Command::Dial,
            KeyCode::Char('r') => Command::Reserve,
            KeyCode::Char('R') => Command::Release,
            _ => return None,
        };
        match self.selected {
            Some(ip) => Some(self.announce(command(ip))),
            None => {
                self.set_notice("select a peer first");
                None
            }
        }
    }

    /// A key of an address that is being typed.
    fn on_prompt_key(&mut self, code: KeyCode) -> Option<Command> {
        let typed = self.prompt.as_mut()?;
        match code {
            KeyCode::Char(char) if typed.len() < MAX_ADDRESS && char.is_ascii_graphic() => typed.push(char),
            KeyCode::Backspace => drop(typed.pop()),
            KeyCode::Esc => self.prompt = None,
            KeyCode::Enter => return self.on_address(),
            _ => {}
        }
        None
    }

    fn on_address(&mut self) -> Option<Command> {
        let typed = self.prompt.take()?;
        if let Ok(ip) = typed.parse::<IpAddr>() {
            let ip = ip.to_canonical();
            self.selected = Some(ip);
            return Some(self.announce(Command::Dial(ip)));
        }
        self.set_notice(format!("{typed:?} is no IP address"));
        None
    }

    fn announce(&mut self, command: Command) -> Command {
        match command {
            Command::Quit => {}
            Command::Ban(ip) => self.set_notice(format!("{ip} is banned for a day")),
            Command::Unban(ip) => self.set_notice(format!("the ban of {ip} is lifted")),
            Command::Dial(ip) => self.set_notice(format!("{ip} is to be dialed")),
            Command::Reserve(ip) => {
                self.reserved.insert(ip);
                self.set_notice(format!("{ip} is reserved"));
            }
            Command::Release(ip) => {
                self.reserved.remove(&ip);
                self.set_notice(format!("{ip} is reserved no more"));
            }
            Command::Pause => self.set_notice("paused: connections stay, and no new ones are made or admitted"),
            Command::Resume => self.set_notice("new connections are made and admitted again"),
        }
        command
    }

    fn close_or_deselect(&mut self) {
        if self.is_why_open {
            self.is_why_open = false;
        } else {
            self.selected = None;
        }
    }

    fn neighbour_view(&self, step: usize) -> View {
        View::ALL[(self.view as usize + step) % View::ALL.len()]
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.row = 0;
    }

    /// Selects the peer so many rows further down, or scrolls the log by as many lines.
    fn step(&mut self, rows: isize) {
        if self.view == View::Log {
            return self.log.scroll(rows.saturating_neg());
        }
        let shown = self.peers.rows(self.view);
        let found = self.selected.and_then(|ip| shown.iter().position(|row| row.ip == ip));
        let target = match found {
            Some(row) => row.saturating_add_signed(rows),
            // The row where the peer was that has left; the first key selects it.
            None if rows.unsigned_abs() == 1 => self.row,
            None => self.row.saturating_add_signed(rows),
        };
        self.row = target.min(shown.len().saturating_sub(1));
        self.selected = shown.get(self.row).map(|row| row.ip).or(self.selected);
    }
}
