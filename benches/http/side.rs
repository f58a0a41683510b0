//! One side: a server, what its bodies really did, and what its process takes.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use uuid::Uuid;

use crate::client::Http;
use crate::resident;

/// A server that is measured.
#[derive(Debug)]
pub(crate) struct Side {
    /// Without a slash at its end.
    pub(crate) url: String,
    witness: Witness,
    /// Killed when this is dropped, if we started it; then its file is removed.
    _server: Option<Server>,
    _folder: Option<Folder>,
}

/// Who says what bodies really did.
#[derive(Debug)]
enum Witness {
    Endpoint,
    File(PathBuf),
    Nobody,
}

impl Side {
    /// A fresh server of ours.
    pub(crate) fn ours(binary: Option<&Path>) -> Result<Self, String> {
        Self::started(binary, &["--demo".as_ref()], Witness::Endpoint)
    }

    /// A fresh server of ours with a store in a file.
    pub(crate) fn stored(binary: Option<&Path>) -> Result<Self, String> {
        let folder = Folder::new()?;
        let file = folder.0.join("runs.db");
        let what = ["--demo".as_ref(), "--store".as_ref(), file.as_os_str()];
        let side = Self::started(binary, &what, Witness::Endpoint)?;
        Ok(Self { _folder: Some(folder), ..side })
    }

    /// A fresh server of ours with the components of a file.
    pub(crate) fn configured(binary: Option<&Path>, file: &Path) -> Result<Self, String> {
        // A run that is named in doubt is a line of the log otherwise.
        let what = ["--log".as_ref(), "error".as_ref(), "--config".as_ref(), file.as_os_str()];
        Self::started(binary, &what, Witness::Nobody)
    }

    fn started(binary: Option<&Path>, what: &[&OsStr], witness: Witness) -> Result<Self, String> {
        let binary = binary.map_or_else(built, |path| Ok(path.to_owned()))?;
        let (server, url) = Server::start(&binary, what)?;
        Ok(Self { url, witness, _server: Some(server), _folder: None })
    }

    fn running(url: &str, witness: Witness) -> Self {
        Self { url: url.to_owned(), witness, _server: None, _folder: None }
    }

    /// A server that has the witness endpoints.
    pub(crate) fn witnessed(url: &str) -> Self {
        Self::running(url, Witness::Endpoint)
    }

    /// A server whose bodies log to a file, or nowhere.
    pub(crate) fn logged(url: &str, effects: Option<&Path>) -> Self {
        let witness = effects.map_or(Witness::Nobody, |path| Witness::File(path.to_owned()));
        Self::running(url, witness)
    }

    /// Counts the ticks of all bodies under a probe; `None` when nobody counts.
    pub(crate) async fn ticks(&self, http: &Http, probe: &str) -> Result<Option<u64>, String> {
        match &self.witness {
            Witness::Endpoint => {
                let seen = http.get(&format!("{}/_bench/ticks?probe={probe}", self.url)).await?;
                let ticks = seen["ticks"].as_object().into_iter().flatten();
                Ok(Some(ticks.filter_map(|(_, count)| count.as_u64()).sum()))
            }
            Witness::File(path) => {
                let log = fs::read_to_string(path)
                    .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
                let probe = format!(" {probe} ");
                let ticks =
                    log.lines().filter(|line| line.contains(&probe) && line.contains(":tick:"));
                Ok(u64::try_from(ticks.count()).ok())
            }
            Witness::Nobody => Ok(None),
        }
    }

    /// As [`Side::ticks`], where somebody has to count.
    pub(crate) async fn counted(&self, http: &Http, probe: &str) -> Result<u64, String> {
        let ticks = self.ticks(http, probe).await?;
        ticks.ok_or_else(|| "nobody counts ticks there; give --langgraph-effects FILE".to_owned())
    }

    /// Reads the resident memory of the server: from itself, or else from the system.
    pub(crate) async fn resident(&self, http: &Http) -> Result<u64, String> {
        let asked = http.get(&format!("{}/_bench/stats", self.url)).await;
        match asked.ok().and_then(|stats| stats["rss_bytes"].as_u64()) {
            Some(bytes) => Ok(bytes),
            None => resident::of_listener(&self.url),
        }
    }
}

/// A server that we started.
#[derive(Debug)]
struct Server(Child);

impl Server {
    fn start(binary: &Path, what: &[&OsStr]) -> Result<(Self, String), String> {
        let started = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(what)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let cannot = |why: &str| format!("{} serve: {why}\n{BUILD_IT}", binary.display());
        let mut server = Self(started.map_err(|error| cannot(&error.to_string()))?);
        let stdout = server.0.stdout.take().ok_or_else(|| cannot("it has no stdout"))?;
        let (said, hears) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            // What cannot be read is an empty line. Nobody hears it once the time is up.
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = said.send(line);
        });
        let line = hears.recv_timeout(STARTED_WITHIN).unwrap_or_default();
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url.ok_or_else(|| cannot("it did not say where it listens"))?.to_owned();
        Ok((server, url))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails only for a process that is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder for files of a server.
#[derive(Debug)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// Makes a fresh one.
    pub(crate) fn new() -> Result<Self, String> {
        let folder = env::temp_dir().join(format!("quell-http-{}", Uuid::now_v7()));
        fs::create_dir(&folder).map_err(|error| error.to_string())?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is the system's to tidy.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Finds the binary beside this bench: `release/quell` beside `release/deps/http-…`.
fn built() -> Result<PathBuf, String> {
    let here = env::current_exe().map_err(|error| format!("where is this bench? {error}"))?;
    let folder = here.parent().and_then(Path::parent).unwrap_or(&here);
    let binary = folder.join(format!("quell{}", env::consts::EXE_SUFFIX));
    if binary.is_file() {
        return Ok(binary);
    }
    Err(format!("there is no {}\n{BUILD_IT}", binary.display()))
}

const BUILD_IT: &str = "build it first with `cargo build --release -p quell-server`, name another \
                        with `--quell PATH`, or give a server that runs with `--ours URL`";

/// How long a server may take to listen.
const STARTED_WITHIN: Duration = Duration::from_secs(10);
