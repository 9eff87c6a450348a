//! limitador's server, where there is one, beside the API: the same four limits, in memory, each
//! server on the same core.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::api;
use crate::load::{Failure, Server};

/// Names the program, where it is not found by its own name.
const VARIABLE: &str = "LIMITADOR_SERVER";
const PROGRAM: &str = "limitador-server";
/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// As `api` has them: a second, an hour, a day and a month, of each customer.
const SECONDS: [u32; 4] = [1, 3_600, 86_400, 2_592_000];

/// The program in a process of its own, which ends with this value.
pub(crate) struct Limitador {
    process: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Limitador {
    /// Starts the program; says why not, where there is none.
    pub(crate) fn start() -> Result<Result<Self, String>, Failure> {
        let named = std::env::var_os(VARIABLE);
        let program = named.as_deref().unwrap_or(PROGRAM.as_ref());
        let folder = std::env::temp_dir().join(format!("limitry-peers-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let limits = folder.join("limits.yaml");
        fs::write(&limits, written())?;
        let [http, grpc] = [free_port()?, free_port()?];
        let started = Command::new(program)
            .args(["--rls-ip", "127.0.0.1", "--rls-port", &grpc.to_string()])
            .args(["--http-ip", "127.0.0.1", "--http-port", &http.to_string()])
            .args([limits.as_os_str(), "memory".as_ref()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = match started {
            Err(why) if why.kind() == ErrorKind::NotFound => {
                remove(&folder);
                let program = Path::new(program).display();
                return Ok(Err(format!("there is no {program}; {VARIABLE} may name one")));
            }
            started => started?,
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, http));
        let mut limitador = Self { process, folder, address };
        limitador.wait()?;
        Ok(Ok(limitador))
    }

    fn wait(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("{PROGRAM} has ended: {status}").into());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("{PROGRAM} has not started").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(crate) fn server(&self) -> Server {
        Server::elsewhere(self.address, self.process.id(), 200, request)
    }
}

impl Drop for Limitador {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.process.kill().and_then(|()| self.process.wait());
        remove(&self.folder);
    }
}

fn remove(folder: &Path) {
    if let Err(why) = fs::remove_dir_all(folder) {
        eprintln!("{} stays: {why}", folder.display());
    }
}

fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Lets this thread, and what it starts from now on, run on one core alone.
pub(crate) fn pin(core: usize) -> Result<(), Failure> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

fn written() -> String {
    let limit = |seconds: &u32| {
        format!(
            "- namespace: bench\n  max_value: {}\n  seconds: {seconds}\n  conditions: []\n  \
             variables: [\"descriptors[0]['customer_id']\"]\n",
            api::LIMIT
        )
    };
    SECONDS.iter().map(limit).collect()
}

/// What takes one of each limit, and is told the headers.
fn request(number: usize) -> String {
    let customer = number % api::CUSTOMERS;
    let body = format!(
        r#"{{"namespace":"bench","values":{{"customer_id":"cust_{customer:06}"}},"delta":1,"#
    ) + r#""response_headers":"DraftVersion03"}"#;
    format!(
        "POST /check_and_report HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}
