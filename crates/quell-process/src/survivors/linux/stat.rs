//! [`Stat`]: what the system says about a process, or about a thread.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use rustix::io::Errno;

/// What the system says about a process.
pub(super) struct Stat {
    /// The state of the first thread, or of the thread that was asked for.
    state: u8,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    pub(super) is_kernel_thread: bool,
    /// Whether it executes nothing but its own end.
    is_exiting: bool,
    /// What the addresses of its environment say, if that is empty.
    pub(super) variables: Variables,
    /// How many threads it has, the first one among them, also when that is dead.
    threads: u64,
    pub(super) began: u64,
}

/// What the addresses of an environment say in which nothing is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variables {
    /// It begins where it ends, and the program has begun: there are none.
    None,
    /// It begins where it ends, and the program has not begun: `exec` counts them.
    BeingCounted,
    /// It is nowhere: `exec` has not come to it, or the system never says where it is.
    Nowhere,
    /// It is larger.
    Unknown,
}

impl Stat {
    /// Reads it; none if there is none. Fails if the system has no room for it.
    pub(super) fn read(id: i32) -> io::Result<Option<Self>> {
        let mut stat = None;
        // While a thread becomes another program, the one that it replaces is dead and alone.
        for _ in 0..STAT_LOOKS_MAX {
            stat = Self::read_from(format!("/proc/{id}/stat"))?;
            if stat.as_ref().is_none_or(|it| it.threads > 0) {
                break;
            }
        }
        Ok(stat)
    }

    pub(super) fn read_from(path: impl AsRef<Path>) -> io::Result<Option<Self>> {
        let stat = read_if_there(path)?;
        Ok(stat.and_then(|stat| Self::parse(&stat)))
    }

    /// See `proc_pid_stat(5)`. The second field, a name in parentheses, may contain anything.
    fn parse(stat: &[u8]) -> Option<Self> {
        let name_end = stat.iter().rposition(|byte| *byte == b')')?;
        let mut fields = str::from_utf8(&stat[name_end + 1..]).ok()?.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let session = fields.next()?.parse().ok()?;
        let flags: u64 = fields.nth(2)?.parse().ok()?;
        let threads = fields.nth(10)?.parse().ok()?;
        let began = fields.nth(1)?.parse().ok()?;
        // The address at which the program ends, which is set when its environment is complete, and
        // those at which that begins and ends. Each is zero as long as there is none.
        let mut address = |nth| fields.nth(nth).map_or(Ok(0), str::parse::<u64>);
        let code_ends = address(4).ok()?;
        let (begins, ends) = (address(22).ok()?, address(0).ok()?);
        let variables = match (begins, code_ends) {
            (0, _) => Variables::Nowhere,
            _ if begins != ends => Variables::Unknown,
            (_, 0) => Variables::BeingCounted,
            _ => Variables::None,
        };
        Some(Self {
            state,
            parent,
            group,
            session,
            is_kernel_thread: flags & PF_KTHREAD != 0,
            is_exiting: flags & PF_EXITING != 0,
            variables,
            threads,
            began,
        })
    }

    /// Tells whether the system says where environments are: that of this process is somewhere.
    pub(super) fn says_where() -> bool {
        static SAYS: OnceLock<bool> = OnceLock::new();
        let own =
            || Some(Self::read_from("/proc/self/stat").ok()??.variables != Variables::Nowhere);
        // What cannot be read now may be read later.
        SAYS.get().copied().or_else(|| own().map(|own| *SAYS.get_or_init(|| own))).unwrap_or(false)
    }

    /// Tells whether it is known that nothing of the process is left to execute. Dead threads that
    /// are traced count as threads.
    pub(super) const fn is_all_dead(&self) -> bool {
        self.is_dead() && self.threads <= 1
    }

    /// Tells whether nothing of the thread is left to execute.
    pub(super) const fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// Tells whether the thread starts nothing any more.
    pub(super) const fn is_over(&self) -> bool {
        self.is_dead() || self.is_exiting
    }
}

/// Reads a file about a process; none if that is gone, or hides it. Fails if the system has no room
/// for it.
pub(super) fn read_if_there(path: impl AsRef<Path>) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if is_shortage(&error) => Err(error),
        read => Ok(read.ok()),
    }
}

/// Tells whether something may well be there although it could not be read.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| short.contains(&code))
}

/// How often to look for a process that has threads.
const STAT_LOOKS_MAX: usize = 3;

/// A flag of a kernel thread, which has no environment.
const PF_KTHREAD: u64 = 0x20_0000;

/// A flag of a thread that is ending.
const PF_EXITING: u64 = 0x4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_contain_anything() {
        let fields: Vec<_> = (5..=21).map(|nth| nth.to_string()).collect();
        let stat = format!("7 (a) Z (b) S 1 4 {} 99 0\n", fields[..16].join(" "));
        let stat = Stat::parse(stat.as_bytes()).unwrap();
        assert_eq!((stat.state, stat.parent, stat.group, stat.session), (b'S', 1, 4, 5));
        assert_eq!((stat.threads, stat.began), (19, 99));
        // The flags were 9.
        assert!(!stat.is_kernel_thread && !stat.is_exiting);
        assert!(Stat::parse(b"7 (a) S 1").is_none() && Stat::parse(b"").is_none());
    }

    #[test]
    fn an_environment_is_empty_when_the_program_has_begun() {
        let of = |code_ends: u64, begins: u64, ends: u64| {
            // From the fourth field on.
            let mut fields = vec![1; 49];
            (fields[23], fields[46], fields[47]) = (code_ends, begins, ends);
            let fields: Vec<_> = fields.iter().map(u64::to_string).collect();
            let stat = format!("7 (a) S {}\n", fields.join(" "));
            Stat::parse(stat.as_bytes()).unwrap().variables
        };
        assert_eq!(of(9, 5, 5), Variables::None);
        assert_eq!(of(0, 5, 5), Variables::BeingCounted);
        assert_eq!([of(0, 0, 0), of(9, 0, 0)], [Variables::Nowhere; 2]);
        assert_eq!([of(0, 5, 6), of(9, 5, 6)], [Variables::Unknown; 2]);
    }
}
