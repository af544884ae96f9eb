//! A program that runs in a lab: what it says line by line, and what it is told.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// Far more than any line takes that is asked for.
const LINE_LIMIT: Duration = Duration::from_secs(30);

/// Ended when it is dropped; what it writes to standard error goes where ours does.
#[derive(Debug)]
pub struct Program {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Program {
    /// Starts the program.
    pub fn spawn(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // Ends with the program, or with whoever would have listened.
        thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self { child, stdin, lines }
    }

    /// Writes a line to its standard input.
    pub fn tell(&mut self, line: &str) {
        let told = writeln!(self.stdin, "{line}");
        told.unwrap_or_else(|error| panic!("cannot write to {:?}: {error}", self.child));
    }

    /// The next line of its standard output, which must come.
    pub fn line(&self) -> String {
        let line = self.lines.recv_timeout(LINE_LIMIT);
        line.unwrap_or_else(|error| panic!("no line of {:?}: {error}", self.child))
    }

    /// What it has written to its standard output since it was last asked.
    pub fn lines(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Sends a signal to the program itself, by its name, where it runs in the process namespace of a lab.
    pub fn signal(&self, name: &str) {
        // `nsenter` waits for the only child it has.
        let parent = self.child.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        let mut kill = Command::new("sh");
        kill.args(["-c", &format!("kill -s {name} {children}")]);
        assert!(kill.status().unwrap().success(), "{kill:?}");
    }

    /// Sends a signal to the process that was started, which is the program where it runs on no host.
    pub fn signal_itself(&self, name: &str) {
        let mut kill = Command::new("sh");
        kill.args(["-c", &format!("kill -s {name} {}", self.child.id())]);
        assert!(kill.status().unwrap().success(), "{kill:?}");
    }

    /// Waits until the program has ended by itself, and says whether it was content.
    pub fn ended(mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
