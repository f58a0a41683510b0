//! [`holders`]: who can write to a pipe.

use std::fs::{self, DirEntry};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::stat::Stat;

/// Finds the processes that can write to one of these pipes, and began with the program or after
/// it. One of another user, and one that is not dumpable, cannot be seen.
pub(crate) fn holders(pipes: &[OwnedFd], since: Option<u64>) -> Vec<i32> {
    let own = |pipe: &OwnedFd| fs::read_link(format!("/proc/self/fd/{}", pipe.as_raw_fd())).ok();
    let pipes: Vec<_> = pipes.iter().filter_map(own).collect();
    if pipes.is_empty() {
        return Vec::new();
    }
    let ids = entries("/proc").filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| began_since(*id, since) && is_holder(*id, &pipes)).collect()
}

fn began_since(id: i32, since: Option<u64>) -> bool {
    Stat::read(id).is_ok_and(|stat| stat.is_some_and(|it| it.began >= since.unwrap_or(0)))
}

fn is_holder(id: i32, pipes: &[PathBuf]) -> bool {
    entries(&format!("/proc/{id}/fd")).any(|entry| {
        // The mode of the link tells which end of the pipe it is.
        let can_write = entry.metadata().is_ok_and(|link| link.mode() & 0o200 != 0);
        let target = fs::read_link(entry.path());
        can_write && target.is_ok_and(|it| pipes.contains(&it))
    })
}

/// Lists a folder; nothing of one that cannot be read.
fn entries(folder: &str) -> impl Iterator<Item = DirEntry> {
    fs::read_dir(folder).into_iter().flatten().filter_map(io::Result::ok)
}
