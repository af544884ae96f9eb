//! The terminal, from when the dashboard takes it over to when the shell has it back.

use std::io::{self, Stdout, stdout};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::Show;
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};

/// Whether the terminal is taken over. It is restored once: a second time would move the cursor over what was printed
/// since.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal in raw mode, on its alternate screen. Dropping it restores it, and so does a panic of any task, before
/// its message is printed.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal over. There is one at a time.
    pub(crate) fn take() -> io::Result<Self> {
        restore_on_panic();
        IS_TAKEN.store(true, Ordering::Relaxed);
        Self::set_up().inspect_err(|_| restore())
    }

    fn set_up() -> io::Result<Self> {
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen)?;
        let terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        Ok(Self { terminal })
    }

    /// Draws a picture, unless the terminal is restored already.
    pub(crate) fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        if IS_TAKEN.load(Ordering::Relaxed) {
            self.terminal.draw(picture)?;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if IS_TAKEN.swap(false, Ordering::Relaxed) {
        // If the terminal is gone, there is nothing to restore.
        let _ = disable_raw_mode();
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    }
}

fn restore_on_panic() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        restore();
        print(panic);
    }));
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::env;
    use std::process::Command;

    use super::*;
    use crate::skip::skip;

    const NAME: &str = "terminal::tests::a_panic_restores_the_terminal_before_its_message";
    /// Set where this test runs once more, in a terminal, to panic there.
    const IN_TERMINAL: &str = "PANIC_IN_THIS_TERMINAL";

    fn panic_on_purpose() {
        let mut screen = Screen::take().unwrap();
        screen.draw(|_| {}).unwrap();
        panic!("on purpose");
    }

    #[test]
    fn a_panic_restores_the_terminal_before_its_message() {
        if env::var_os(IN_TERMINAL).is_some() {
            return panic_on_purpose();
        }
        let tests = env::current_exe().unwrap();
        let command = format!("{IN_TERMINAL}=1 '{}' --exact --nocapture {NAME}", tests.display());
        let mut script = Command::new("script");
        script.args(["--quiet", "--command", &format!("{command}; stty -a"), "/dev/null"]);
        let Ok(output) = script.env("SHELL", "/bin/sh").output() else {
            return skip("there is no `script` of util-linux");
        };
        let output = String::from_utf8_lossy(&output.stdout);
        let place = |part| output.find(part).unwrap_or_else(|| panic!("no {part:?} in {output:?}"));
        assert!(place("\x1b[?1049h") < place("\x1b[?1049l"));
        assert!(place("\x1b[?1049l") < place("on purpose"));
        assert_eq!(output.matches("\x1b[?1049l").count(), 1);
        assert!(place(" icanon") > place("on purpose"), "it is in raw mode still");
    }
}
