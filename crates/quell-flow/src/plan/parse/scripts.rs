//! [`Scripts`]: which words of a command a shell reads as a script.

use std::ops::Range;

/// How the quotes of a shell are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// As POSIX says.
    Posix,
    /// As POSIX says, on another host.
    Remote,
    /// In another way.
    Foreign,
}

/// The script of a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scripts<'a> {
    /// The program that reads it.
    pub(super) shell: &'a str,
    pub(super) sort: Sort,
    /// The places of its words; none if it is what stands on stdin.
    pub(super) words: Option<Range<usize>>,
}

impl<'a> Scripts<'a> {
    /// Finds the script among the words of a command, or that it is read from stdin. The shell may
    /// be the argument of another program, such as `env`.
    pub(super) fn of(words: &[&'a str]) -> Option<Self> {
        let in_words = readers(words).find_map(|(at, reader)| {
            let found = (reader.find)(&words[at + 1..])?;
            let (begin, end) = (at + 1 + found.start, at + 1 + found.end);
            Some(Self { words: Some(begin..end), ..reader.of(words[at]) })
        });
        let on_stdin = || {
            let mut readers = readers(words).filter(|(at, _)| is_started(words, *at));
            let found = readers.find(|(at, reader)| (reader.is_stdin)(&words[at + 1..]))?;
            Some(found.1.of(words[found.0]))
        };
        in_words.or_else(on_stdin)
    }
}

/// Yields the shell of a command and the place of a word that it may take for an option although
/// it is to be its file: a template, before others.
pub(super) fn unsure_option<'a>(words: &[&'a str]) -> Option<(&'a str, usize)> {
    readers(words).filter(|(at, _)| is_started(words, *at)).find_map(|(at, reader)| {
        let is_shell = reader.names == SHELLS;
        let place = at + 1 + Options::of(&words[at + 1..]).end;
        let (file, others) = words.get(place..)?.split_first()?;
        let is_unsure = is_shell && words[place - 1] != "--" && file.starts_with("{{");
        let is_template = |word: &&str| word.contains("{{");
        (is_unsure && others.iter().any(is_template)).then(|| (program(words[at]), place))
    })
}

/// Yields the name of a program, without its folder.
pub(super) fn program(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

pub(super) fn is_shell(name: &str) -> bool {
    SHELLS.contains(&name)
}

/// Programs that read a script.
struct Reader {
    names: &'static [&'static str],
    sort: Sort,
    /// Finds the script among the arguments.
    find: fn(&[&str]) -> Option<Range<usize>>,
    /// Tells by the arguments whether the script is what stands on stdin.
    is_stdin: fn(&[&str]) -> bool,
}

impl Reader {
    fn of<'a>(&self, word: &'a str) -> Scripts<'a> {
        Scripts { shell: program(word), sort: self.sort, words: None }
    }
}

/// Lists the words that name what reads a script. Names that are common words count only where a
/// program is named.
fn readers(words: &[&str]) -> impl Iterator<Item = (usize, &'static Reader)> {
    let found = words.iter().enumerate().filter_map(|(at, word)| {
        let reader = READERS.iter().find(|reader| reader.names.contains(&program(word)))?;
        let is_sure = reader.names == SHELLS || reader.sort == Sort::Remote;
        (is_sure || is_started(words, at)).then_some((at, reader))
    });
    found.take(SHELLS_TRIED).collect::<Vec<_>>().into_iter()
}

/// Tells whether a word names the program, or one that the first word starts.
fn is_started(words: &[&str], at: usize) -> bool {
    at == 0 || STARTERS.contains(&program(words[0]))
}

/// The options of a shell.
struct Options {
    /// How many words they are.
    end: usize,
    has_script: bool,
    has_stdin: bool,
}

impl Options {
    fn of(arguments: &[&str]) -> Self {
        let mut options = Self { end: 0, has_script: false, has_stdin: false };
        let next = |at: usize| arguments.get(at).and_then(|word| word.strip_prefix(['-', '+']));
        while let Some(found) = next(options.end) {
            options.end += 1;
            if let Some(long) = found.strip_prefix('-') {
                // The value of a long option follows.
                options.end += usize::from(LONG_WITH_VALUES.contains(&long));
                continue;
            }
            options.has_script |= found.contains('c');
            options.has_stdin |= found.contains('s');
            // The name of an option follows.
            options.end += usize::from(found.contains(['o', 'O']));
        }
        options
    }
}

/// Finds the script among the arguments of a shell: the first that is no option, if one of the
/// options is `-c`.
fn script_of(arguments: &[&str]) -> Option<Range<usize>> {
    let Options { end, has_script, .. } = Options::of(arguments);
    (has_script && end < arguments.len()).then_some(end..end + 1)
}

/// Tells whether a shell has neither a script nor a file.
fn is_stdin(arguments: &[&str]) -> bool {
    let Options { end, has_script, has_stdin } = Options::of(arguments);
    !has_script && (has_stdin || arguments.get(end).is_none_or(|file| *file == "/dev/stdin"))
}

/// Finds what runs on the host among the arguments of `ssh`: all that follows its name.
fn remote_of(arguments: &[&str]) -> Option<Range<usize>> {
    let host = host_of(arguments)?;
    (host + 1 < arguments.len()).then_some(host + 1..arguments.len())
}

/// Tells whether the shell of the host reads stdin.
fn is_remote_stdin(arguments: &[&str]) -> bool {
    let is_other = |word: &&str| word.starts_with('-') && word.contains(SSH_OTHERS);
    host_of(arguments) == arguments.len().checked_sub(1) && !arguments.iter().any(is_other)
}

fn host_of(arguments: &[&str]) -> Option<usize> {
    let mut at = 0;
    while let Some(options) = arguments.get(at)?.strip_prefix('-') {
        at += 1;
        // The value of an option follows, unless it is in the same word.
        at += usize::from(options.len() == 1 && SSH_VALUES.contains(options));
    }
    Some(at)
}

/// Finds the value of `-c`, which may be in the same word.
fn command_of(arguments: &[&str]) -> Option<Range<usize>> {
    let value = |(at, word): (usize, &&str)| {
        if let Some(long) = word.strip_prefix("--") {
            let name = long.split_once('=').map_or(long, |(name, _)| name);
            return COMMANDS.contains(&name).then_some(at + usize::from(name == long));
        }
        let options = word.strip_prefix('-')?;
        let is_last = options.find('c')? + 1 == options.len();
        Some(at + usize::from(is_last))
    };
    let at = arguments.iter().enumerate().find_map(value)?;
    (at < arguments.len()).then_some(at..at + 1)
}

/// Finds the value of `-c` right behind the file of `flock`: elsewhere it is one of a program.
fn locked(arguments: &[&str]) -> Option<Range<usize>> {
    let is_file = |word: &&str| !word.starts_with('-') && word.parse::<f64>().is_err();
    let behind = arguments.iter().position(is_file)? + 1;
    let found = command_of(arguments.get(behind..)?)?;
    (found.start <= 1).then_some(behind + found.start..behind + found.end)
}

/// Finds what `watch` runs: all behind its options, unless there is no shell.
fn watched(arguments: &[&str]) -> Option<Range<usize>> {
    let mut at = 0;
    while let Some(options) = arguments.get(at)?.strip_prefix('-') {
        if options == "-exec" || (!options.starts_with('-') && options.contains('x')) {
            return None;
        }
        at += 1 + usize::from(WATCH_VALUES.contains(&options));
    }
    Some(at..arguments.len())
}

/// Finds what `env -S` splits into words, by quotes of its own.
fn split_of(arguments: &[&str]) -> Option<Range<usize>> {
    let mut at = 0;
    loop {
        let word = *arguments.get(at)?;
        let (is_split, is_inside) = if let Some(long) = word.strip_prefix("--") {
            (long.starts_with("split-string"), long.contains('='))
        } else {
            let options = word.strip_prefix('-').unwrap_or_default();
            (options.contains('S'), !options.ends_with('S'))
        };
        if is_split {
            let at = at + usize::from(!is_inside);
            return (at < arguments.len()).then_some(at..at + 1);
        }
        if !word.starts_with('-') && !word.contains('=') {
            return None;
        }
        at += 1 + usize::from(ENV_VALUES.contains(&word));
    }
}

/// Finds what stands behind an option of which the rest of the command is the value.
fn rest_behind(arguments: &[&str], is_option: fn(&str) -> bool) -> Option<Range<usize>> {
    let at = arguments.iter().position(|word| is_option(&word.to_ascii_lowercase()))?;
    (at + 1 < arguments.len()).then_some(at + 1..arguments.len())
}

const READERS: [Reader; 9] = [
    Reader { names: &SHELLS, sort: Sort::Posix, find: script_of, is_stdin },
    Reader { names: &["ssh"], sort: Sort::Remote, find: remote_of, is_stdin: is_remote_stdin },
    Reader { names: &STARTED_BY, sort: Sort::Posix, find: command_of, is_stdin: |_| false },
    Reader { names: &["flock"], sort: Sort::Posix, find: locked, is_stdin: |_| false },
    Reader { names: &["watch"], sort: Sort::Posix, find: watched, is_stdin: |_| false },
    Reader { names: &[ENV], sort: Sort::Foreign, find: split_of, is_stdin: |_| false },
    Reader { names: &FOREIGN, sort: Sort::Foreign, find: command_of, is_stdin },
    Reader {
        names: &["pwsh", "pwsh.exe", "powershell", "powershell.exe"],
        sort: Sort::Foreign,
        find: |words| rest_behind(words, |it| it.len() > 1 && "-command".starts_with(it)),
        is_stdin: |_| false,
    },
    Reader {
        names: &["cmd", "cmd.exe"],
        sort: Sort::Foreign,
        find: |words| rest_behind(words, |it| it == "/c" || it == "/k"),
        is_stdin: |_| false,
    },
];

/// Splits the value of `-S` into words itself.
pub(super) const ENV: &str = "env";

/// How many words that are names of shells are tried as the shell: each takes a look at all options
/// behind it.
const SHELLS_TRIED: usize = 8;

/// The shells whose quotes are those of POSIX.
const SHELLS: [&str; 11] =
    ["sh", "bash", "dash", "zsh", "ksh", "ash", "mksh", "rbash", "rksh", "rzsh", "yash"];

/// Programs that have such a shell run the value of `-c`.
const STARTED_BY: [&str; 4] = ["su", "runuser", "sg", "script"];

/// Shells with quotes of their own.
const FOREIGN: [&str; 6] = ["fish", "csh", "tcsh", "nu", "xonsh", "elvish"];

/// Programs that start the program that is named among their arguments.
const STARTERS: [&str; 24] = [
    "busybox",
    "chroot",
    "chrt",
    "docker",
    "doas",
    "env",
    "exec",
    "flock",
    "ionice",
    "kubectl",
    "nice",
    "nohup",
    "nsenter",
    "podman",
    "runuser",
    "setsid",
    "ssh",
    "stdbuf",
    "strace",
    "sudo",
    "systemd-run",
    "time",
    "timeout",
    "unshare",
];

/// The long options of these shells whose value is the next argument.
const LONG_WITH_VALUES: [&str; 3] = ["rcfile", "init-file", "emulate"];

/// What `-c` is called in full.
const COMMANDS: [&str; 4] = ["command", "commands", "init-command", "session-command"];

/// The options of `ssh` that have a value, and those with which no shell reads stdin.
const SSH_VALUES: &str = "BbcDEeFIiJLlmOoPpQRSWw";
const SSH_OTHERS: [char; 7] = ['N', 'O', 'Q', 'V', 'W', 'n', 's'];

/// The options of `watch` and of `env` whose value is the next argument.
const WATCH_VALUES: [&str; 4] = ["n", "q", "-interval", "-equexit"];
const ENV_VALUES: [&str; 4] = ["-u", "-C", "--unset", "--chdir"];

#[cfg(test)]
mod tests {
    use super::*;

    fn found(words: &[&str]) -> Option<Range<usize>> {
        Scripts::of(words).and_then(|scripts| scripts.words)
    }

    #[test]
    fn the_script_is_the_first_argument_behind_the_options() {
        for (words, at) in [
            (&["sh", "-c", "x"][..], Some(2..3)),
            (&["/bin/bash", "-euo", "pipefail", "-c", "x", "y"], Some(4..5)),
            (&["bash", "-ec", "-x", "x"], Some(3..4)),
            (&["bash", "--norc", "-c", "x"], Some(3..4)),
            (&["bash", "--rcfile", "rc", "-c", "x"], Some(4..5)),
            (&["bash", "--init-file", "rc", "-ec", "x"], Some(4..5)),
            (&["zsh", "--emulate", "sh", "-c", "x"], Some(4..5)),
            (&["bash", "-c", "--", "x"], Some(3..4)),
            (&["env", "A=1", "sh", "-c", "x"], Some(4..5)),
            (&["ssh", "-p", "22", "-i", "key", "-oA=b", "me@host", "x", "y"], Some(7..9)),
            (&["ssh", "host"], None),
            (&["sh", "x", "-c"], None),
            (&["sh", "-c"], None),
            (&["make", "-c", "x"], None),
        ] {
            assert_eq!(found(words), at, "{words:?}");
        }
    }

    #[test]
    fn a_script_is_found_behind_each_program_that_hands_it_to_a_shell() {
        for (words, at) in [
            (&["env", "-i", "-u", "A", "-S", "x"][..], Some(5..6)),
            (&["env", "-vSx"], Some(1..2)),
            (&["env", "--split-string=x"], Some(1..2)),
            (&["env", "make", "-S", "x"], None),
            (&["su", "-", "me", "-c", "x"], Some(4..5)),
            (&["sudo", "su", "-lc", "x", "me"], Some(3..4)),
            (&["runuser", "--command=x", "me"], Some(1..2)),
            (&["script", "-qc", "x", "log"], Some(2..3)),
            (&["npm", "run", "script", "-c", "x"], None),
            (&["flock", "-w", "5", "lock", "-c", "x"], Some(5..6)),
            (&["flock", "lock", "python3", "-c", "x"], None),
            (&["watch", "-n", "2", "-d", "x", "y"], Some(4..6)),
            (&["watch", "-x", "y"], None),
            (&["fish", "--no-config", "-c", "x"], Some(3..4)),
            (&["pwsh", "-NoProfile", "-Command", "x", "y"], Some(3..5)),
            (&["cmd", "/s", "/C", "x"], Some(3..4)),
        ] {
            assert_eq!(found(words), at, "{words:?}");
        }
    }

    #[test]
    fn a_shell_with_neither_script_nor_file_reads_stdin() {
        let is_stdin = |words: &[&str]| Scripts::of(words).is_some_and(|it| it.words.is_none());
        for yes in [
            &["sh"][..],
            &["bash", "-eu", "-o", "pipefail"],
            &["bash", "-s", "--", "a"],
            &["sh", "/dev/stdin"],
            &["docker", "exec", "-i", "box", "sh"],
            &["ssh", "-p", "22", "host"],
            &["fish"],
        ] {
            assert!(is_stdin(yes), "{yes:?}");
        }
        for no in [
            &["sh", "file"][..],
            &["which", "sh"],
            &["shellcheck", "-s", "sh", "-"],
            &["ssh", "-N", "host"],
            &["ssh", "host", "cat"],
            &["cat"],
        ] {
            assert!(!is_stdin(no), "{no:?}");
        }
    }
}
