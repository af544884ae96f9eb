//! Linux namespaces that need no root and leave nothing behind: each is held open by a process that ends when its
//! standard input does, so that the kernel clears up after us however we end, killed or not.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

/// Where `ip` and `tc` may live that the search path of a plain user leaves out.
const SYSTEM_FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// The options of `unshare` behind which we are root and nothing of the outside is seen. What is run in the process
/// namespace ends with its first process, and that one with `unshare`.
const UNSHARE: [&str; 6] = ["--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child"];

/// Says that it is there, and stays as long as we do.
const HOLD: &str = "echo; exec cat >/dev/null";

/// What this machine lacks for a lab.
#[derive(Debug)]
pub struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether namespaces can be made here, with a bridge and a pair of linked interfaces in them.
pub fn check() -> Result<(), Missing> {
    for (tool, package) in [
        ("unshare", "util-linux"),
        ("nsenter", "util-linux"),
        ("setpriv", "util-linux"),
        ("ip", "iproute2"),
    ] {
        // The small ones of other collections have neither all the options nor this one.
        check_tool(tool, package, "-V")?;
    }
    let mut unshare = tool_command("unshare");
    let script = "ip link add name switch type bridge && ip link add name a0 type veth peer name a1";
    unshare.args(UNSHARE).args(["sh", "-c", script]);
    let tried = unshare.stdin(Stdio::null()).output();
    let tried = tried.map_err(|error| Missing(format!("cannot run `unshare`: {error}")))?;
    if tried.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&tried.stderr);
    Err(Missing(format!("no network namespaces here: {}", complaint.trim())))
}

/// Whether there is a tool, and it takes this option.
pub fn check_tool(tool: &str, package: &str, option: &str) -> Result<(), Missing> {
    let why = match tool_command(tool).arg(option).stdin(Stdio::null()).output() {
        Ok(version) if version.status.success() => return Ok(()),
        Ok(failed) => format!("`{tool} {option}` fails, {}: {}", failed.status, complaint(&failed)),
        Err(error) => format!("cannot run `{tool}`: {error}"),
    };
    Err(Missing(format!(
        "needs `{tool}` of the Debian package {package}: {why}"
    )))
}

/// What a tool said of its failure: the first line, as some go on with a page of options.
fn complaint(failed: &Output) -> String {
    let said = [&failed.stderr[..], &failed.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    said.trim().lines().next().unwrap_or("it says nothing").to_owned()
}

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    holder: Child,
    /// The process whose user and process namespaces are entered too.
    root: u32,
}

impl Namespace {
    /// One of its own users and processes, in which others are made.
    pub fn root() -> Self {
        let mut unshare = tool_command("unshare");
        unshare.args(UNSHARE).args(["sh", "-c", HOLD]);
        let holder = hold(&mut unshare);
        Self {
            root: holder.id(),
            holder,
        }
    }

    /// One beside it, with the same users and processes.
    pub fn beside(&self) -> Self {
        let mut command = self.command_as_seen_from_outside("unshare");
        command.args(["--net", "sh", "-c", HOLD]);
        Self {
            root: self.root,
            holder: hold(&mut command),
        }
    }

    /// The process by which `ip link set netns` knows this namespace.
    pub fn id(&self) -> u32 {
        self.holder.id()
    }

    /// A program that is going to run in here. It ends when the child that is spawned from this command does, and with
    /// it ends whatever it has started when the lab does.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.enter();
        command.arg(format!("--pid=/proc/{}/ns/pid_for_children", self.root));
        command.args(["--", "setpriv", "--pdeathsig", "KILL", "--", program]);
        command
    }

    /// Runs `ip` with these commands, one a line.
    pub fn ip(&self, batch: &str) {
        let mut ip = self.command_as_seen_from_outside("ip");
        let mut child = ip.args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(batch.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "`ip` refused one of these:\n{batch}");
    }

    /// A short-lived tool, for which processes have the numbers that they have for us.
    pub fn command_as_seen_from_outside(&self, program: &str) -> Command {
        let mut command = self.enter();
        command.args(["--", program]);
        command
    }

    fn enter(&self) -> Command {
        let mut nsenter = tool_command("nsenter");
        nsenter.arg("--preserve-credentials");
        nsenter.arg(format!("--user=/proc/{}/ns/user", self.root));
        nsenter.arg(format!("--net=/proc/{}/ns/net", self.holder.id()));
        nsenter
    }
}

/// The end of standard input would do as well, but later.
impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

fn tool_command(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:{SYSTEM_FOLDERS}"));
    command
}

/// Starts what holds a namespace, and waits until it is in it.
fn hold(command: &mut Command) -> Child {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let read = lines.read_line(&mut ready);
    assert!(is_line(read), "{command:?} did not start");
    child
}

fn is_line(read: io::Result<usize>) -> bool {
    read.is_ok_and(|bytes| bytes > 0)
}
