//! The dashboard as a process in a terminal, which `script` of util-linux makes.

#![cfg(target_os = "linux")]

#[path = "../../../tests/support/skip.rs"]
mod skip;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use skip::skip;

/// What switches to the alternate screen, and back.
const TAKE: &str = "\x1b[?1049h";
const RESTORE: &str = "\x1b[?1049l";

/// A dashboard in a terminal of 80x24.
struct Dashboard {
    script: Child,
    keys: ChildStdin,
    output: BufReader<ChildStdout>,
    id: String,
}

impl Dashboard {
    /// Starts it; `None` without `script`. Waits until it shows its node.
    fn start(arguments: &str) -> Option<Self> {
        let program = env!("CARGO_BIN_EXE_network-dashboard");
        let command = format!("stty rows 24 cols 80; echo $$; exec '{program}' {arguments}");
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
        script.env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        let Ok(mut script) = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
            skip("there is no `script` of util-linux");
            return None;
        };
        let keys = script.stdin.take().unwrap();
        let mut output = BufReader::new(script.stdout.take().unwrap());
        let mut id = String::new();
        output.read_line(&mut id).unwrap();
        let id = id.trim().to_owned();
        let mut dashboard = Self {
            script,
            keys,
            output,
            id,
        };
        let shown = dashboard.read_until("connected");
        assert!(shown.contains(TAKE), "{shown:?}");
        assert!(!shown.contains(RESTORE), "{shown:?}");
        Some(dashboard)
    }

    fn read_until(&mut self, part: &str) -> String {
        let mut shown = Vec::new();
        let has = |shown: &[u8]| shown.windows(part.len()).any(|window| window == part.as_bytes());
        while !has(&shown) {
            let read = self.output.fill_buf().unwrap();
            assert!(!read.is_empty(), "it ended: {}", String::from_utf8_lossy(&shown));
            shown.extend_from_slice(read);
            let used = read.len();
            self.output.consume(used);
        }
        String::from_utf8_lossy(&shown).into_owned()
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Checks that it ends well and gives the terminal back.
    fn check_end(mut self) {
        let mut rest = Vec::new();
        self.output.read_to_end(&mut rest).unwrap();
        let rest = String::from_utf8_lossy(&rest);
        assert_eq!(self.script.wait().unwrap().code(), Some(0), "{rest}");
        assert!(rest.contains(RESTORE), "{rest:?}");
    }
}

#[test]
fn q_and_ctrl_c_end_it_and_restore_the_terminal() {
    for key in ["q", "\x03"] {
        let Some(mut dashboard) = Dashboard::start("") else {
            return;
        };
        dashboard.press(key);
        dashboard.check_end();
    }
}

#[test]
fn sigterm_ends_it_and_restores_the_terminal() {
    let Some(dashboard) = Dashboard::start("--neighbours 1") else {
        return;
    };
    let sent = Command::new("kill").args(["-TERM", &dashboard.id]).status().unwrap();
    assert!(sent.success());
    dashboard.check_end();
}

#[test]
fn keys_reach_it() {
    let Some(mut dashboard) = Dashboard::start("") else {
        return;
    };
    dashboard.press("?");
    // Of what is drawn, blanks that were blanks before are left out.
    dashboard.read_until("Ctrl-C");
    dashboard.press("q");
    dashboard.check_end();
}

#[test]
fn a_real_node_keeps_its_peers_file() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard.json");
    drop(std::fs::remove_file(&file));
    let [.., high, low] = std::process::id().to_be_bytes();
    let ip = format!("127.{}.{low}.13", 16 + high % 240);
    let options = format!(
        "--peers '{}' --listen-ip {ip} --bootstrap 127.0.0.99 --port 0",
        file.display()
    );
    let Some(mut dashboard) = Dashboard::start(&options) else {
        return;
    };
    dashboard.press("q");
    dashboard.check_end();
    let peers = std::fs::read_to_string(&file).unwrap();
    assert!(peers.contains("127.0.0.99"), "{peers}");
}

#[test]
fn without_a_terminal_it_says_so() {
    let mut dashboard = Command::new(env!("CARGO_BIN_EXE_network-dashboard"));
    let output = dashboard.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: this is for a terminal"), "{error}");
}
