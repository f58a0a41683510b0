//! Resident memory of the process that listens on a port of this machine, as Linux counts it.

use std::fs;
use std::path::Path;

/// Reads the resident memory of the process that listens where a URL points.
pub(crate) fn of_listener(url: &str) -> Result<u64, String> {
    listener(url).and_then(|pid| resident(&pid)).ok_or(format!(
        "{url} does not say what its process takes, and this system does not tell who listens \
         there; leave out the part `memory`, or run it where the server runs"
    ))
}

/// Finds the process that listens where a URL points.
pub(crate) fn listener(url: &str) -> Option<String> {
    port(url).and_then(inode).and_then(|inode| owner(&inode))
}

fn port(url: &str) -> Option<u16> {
    url.rsplit_once(':')?.1.parse().ok()
}

/// Finds the socket that listens on a port.
fn inode(port: u16) -> Option<String> {
    let sockets = fs::read_to_string("/proc/net/tcp").ok()?;
    let local = format!(":{port:04X}");
    sockets.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let listens = fields.get(1)?.ends_with(&local) && *fields.get(3)? == LISTENS;
        listens.then(|| fields.get(9).map(|&inode| inode.to_owned())).flatten()
    })
}

/// Finds the process that holds a socket.
fn owner(inode: &str) -> Option<String> {
    let socket = format!("socket:[{inode}]");
    let holds = |process: &Path| {
        let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        open.filter_map(|file| fs::read_link(file.path()).ok())
            .any(|target| target.as_os_str() == socket.as_str())
    };
    let mut processes = fs::read_dir("/proc").ok()?.flatten();
    let process = processes.find(|process| holds(&process.path()))?;
    process.file_name().into_string().ok()
}

/// Reads the resident memory of a process, in bytes.
pub(crate) fn resident(pid: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// The state of a listening socket in the table of sockets.
const LISTENS: &str = "0A";
