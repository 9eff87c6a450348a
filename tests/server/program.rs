//! The program, as a process of its own, and calls of it over the loopback.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};

use serde_json::Value;

/// A folder that is removed with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("limitry-{name}-{}", std::process::id()));
        let _none = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    pub(crate) key: String,
    /// What it has said until it listens.
    pub(crate) said: String,
    log: BufReader<ChildStderr>,
    _out: BufReader<ChildStdout>,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_limitry"))
}

impl Server {
    /// Starts it with fresh keys, unless `key` is one of a file that the arguments name.
    pub(crate) fn start(arguments: &[&str], key: Option<&str>) -> Self {
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(arguments);
        Self::of(command, key)
    }

    /// The same by a command that serves.
    pub(crate) fn of(mut command: Command, key: Option<&str>) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let (mut address, mut key) = (None, key.map(str::to_owned));
        let mut said = String::new();
        while address.is_none() {
            let mut line = String::new();
            assert_ne!(out.read_line(&mut line).expect("it is read"), 0, "it has ended");
            said.push_str(&line);
            if let Some(fresh) = line.trim().strip_prefix("key ").filter(|it| it.starts_with("lm_"))
            {
                key.get_or_insert_with(|| fresh.to_owned());
            }
            address = line.trim().strip_prefix("listening on http://").map(str::to_owned);
        }
        let (address, key) = (address.expect("it was said"), key.expect("it was said"));
        Self { child, address, key, said, log, _out: out }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).expect("it listens")
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        send(&self.address, &self.key, method, path, body)
    }

    /// The most bytes of memory that it has had so far.
    pub(crate) fn most_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("Linux says it");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("a number");
        kilobytes.parse::<u64>().expect("a number") * 1_024
    }

    /// Reads the log up to a line that has this.
    pub(crate) fn wait_for(&mut self, what: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(
                self.log.read_line(&mut line).expect("it is read"),
                0,
                "no {what} in the log"
            );
            if line.contains(what) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Kills it at once, and waits until it is dead.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it is dead");
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }
}

/// Sends a request on a connection of its own.
pub(crate) fn send(address: &str, key: &str, method: &str, path: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {key}\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(body.as_bytes()).expect("sent");
    Answer::read(stream).expect("an answer")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Answer {
    /// Reads what comes until the connection is closed; `None` where nothing whole comes.
    pub(crate) fn read(mut stream: TcpStream) -> Option<Self> {
        let mut text = Vec::new();
        stream.read_to_end(&mut text).ok()?;
        let text = String::from_utf8(text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let is_text = head.contains("text/plain");
        let body = match body {
            "" => Value::Null,
            text if is_text => Value::String(text.to_owned()),
            json => serde_json::from_str(json).ok()?,
        };
        Some(Self { status, head: head.to_ascii_lowercase(), body })
    }
}

/// Runs the program to its end: whether it did well, and what it said.
pub(crate) fn run(arguments: &[&str]) -> (bool, String, String) {
    let output = program().args(arguments).output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}
