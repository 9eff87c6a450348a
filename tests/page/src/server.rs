//! The program, as a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::Failed;

/// A server that runs until it is dropped.
pub(crate) struct Server {
    program: PathBuf,
    child: Child,
    pub(crate) address: String,
    pub(crate) key: String,
    _out: BufReader<ChildStdout>,
}

impl Server {
    /// Starts it with fresh keys.
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> Result<Self, Failed> {
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut out = BufReader::new(child.stdout.take().ok_or("it has an output")?);
        let (mut key, mut line) = (String::new(), String::new());
        while out.read_line(&mut line)? > 0 {
            if let Some(fresh) = line.trim().strip_prefix("key ").filter(|it| it.starts_with("lm_"))
            {
                fresh.clone_into(&mut key);
            }
            if let Some(address) = line.trim().strip_prefix("listening on http://") {
                let (program, address) = (program.to_owned(), address.to_owned());
                return Ok(Self { program, child, address, key, _out: out });
            }
            line.clear();
        }
        let _gone = child.kill();
        Err("the server has ended".into())
    }

    /// Starts another one, for a key that is known.
    pub(crate) fn another(&self, arguments: &[&str], key: &str) -> Result<Self, Failed> {
        let mut other = Self::start(&self.program, arguments)?;
        key.clone_into(&mut other.key);
        Ok(other)
    }

    /// A key of a scope, and its lines for a file of keys.
    pub(crate) fn new_key(&self, scope: &str) -> Result<(String, String), Failed> {
        let arguments = ["key", "new", "--project", "proj_default", "--scope", scope];
        let output = Command::new(&self.program).args(arguments).output()?;
        let text = String::from_utf8(output.stdout)?;
        let (key, lines) = text.split_once('\n').ok_or("lines")?;
        Ok((key.strip_prefix("key ").ok_or("a key")?.to_owned(), lines.to_owned()))
    }

    /// Sends a request; its status and its body.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        body: Value,
    ) -> Result<(u16, Value), Failed> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(&self.address)?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.key,
            body.len()
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or("a head")?;
        let status = head.split(' ').nth(1).ok_or("a status")?.parse()?;
        Ok((status, serde_json::from_str(body)?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
