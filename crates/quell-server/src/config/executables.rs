//! [`fault_of`]: why a program of the configuration could not be started, and [`missing_of`]: which
//! programs of a plan are not there.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use quell_flow::{CommandStep, Plan, PlanError, excerpt, program_of};
use rustix::fs::{Access, access};

/// Says why a program cannot be started; none if it can, as far as one can see.
///
/// A name with a slash is a path from `folder`. Another one is looked up in `path` by the system,
/// in which what is relative is so to `cwd`, where the program starts.
pub(super) fn fault_of(
    program: &str,
    folder: &Path,
    cwd: &Path,
    path: Option<&OsStr>,
) -> Option<String> {
    let fault = refused(program, folder, cwd, path)?;
    // What is behind the name may be a secret.
    let begin = program_of(program);
    if !begin.ends_with(['=', ':']) {
        return Some(fault);
    }
    Some(format!("`{}` is no program; a variable stands in `env`", shown(program)))
}

fn refused(program: &str, folder: &Path, cwd: &Path, path: Option<&OsStr>) -> Option<String> {
    if program.contains('/') {
        let words = refusal(&folder.join(program))?;
        return Some(format!("program `{}`: {words}", shown(program)));
    }
    let path = path.map_or_else(|| OsString::from(DEFAULT_PATH), OsStr::to_owned);
    let places = env::split_paths(&path).map(|place| cwd.join(place).join(program));
    let refused: Vec<Option<String>> = places.map(|place| refusal(&place)).collect();
    if refused.contains(&None) {
        return None;
    }
    let words = refused.into_iter().flatten().find(|words| words != NO_FILE);
    let words = words.map_or_else(|| "is not in PATH".into(), |words| format!("in PATH: {words}"));
    let here = folder.join(program);
    let (of_here, is_file) = (refusal(&here), here.is_file());
    let has_words = program.contains(' ');
    let program = shown(program);
    let hint = match of_here {
        None => format!("; did you mean `./{program}`?"),
        Some(words) if is_file => format!("; did you mean `./{program}`? It {words}"),
        Some(_) if has_words => NO_SHELL.to_owned(),
        Some(_) => String::new(),
    };
    Some(format!("program `{program}` {words}{hint}"))
}

/// Yields a program as messages name it.
fn shown(program: &str) -> String {
    let begin = program_of(program);
    excerpt(begin) + if begin.len() < program.len() { "…" } else { "" }
}

/// Warns of each program of a plan that is not in `PATH`, as far as one can see before the plan
/// runs. A path may be made by the plan itself, and a template by its input.
pub(crate) fn missing_of(plan: &Plan) -> Vec<PlanError> {
    let missing = |step: &CommandStep| {
        let (program, path) = (step.command.first()?, step.env.get("PATH"));
        let texts = [Some(program), path, step.cwd.as_ref()];
        let is_template = texts.into_iter().flatten().any(|text| text.contains("{{"));
        // A part with a fault is empty.
        let is_lost = program.is_empty() || path.is_some_and(String::is_empty);
        if is_template || is_lost || program.contains('/') {
            return None;
        }
        let folder = Path::new(step.cwd.as_deref().unwrap_or("."));
        let path = path.map(OsString::from).or_else(|| env::var_os("PATH"));
        let words = fault_of(program, folder, folder, path.as_deref())?;
        Some(step.fault(format!("`run`: {words}")))
    };
    plan.commands().into_iter().filter_map(missing).collect()
}

/// Says why a file is no program that this process may start.
fn refusal(file: &Path) -> Option<String> {
    match file.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(NO_FILE.to_owned()),
        Err(error) => Some(error.to_string()),
        Ok(about) if about.is_dir() => Some("is a directory".to_owned()),
        Ok(about) if !about.is_file() => Some("is no regular file".to_owned()),
        Ok(_) => match access(file, Access::EXEC_OK) {
            Ok(()) => None,
            Err(_) => Some("is not executable; `chmod +x` makes it so".to_owned()),
        },
    }
}

/// What is said of a command line in the place of a program.
const NO_SHELL: &str = "; no shell reads it: the program and its arguments are items of the list";

const NO_FILE: &str = "no such file";

/// Where the system looks for programs if there is no `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_program_is_looked_up_as_the_system_does() {
        let folder = env::temp_dir().join(format!("quell-executables-{}", std::process::id()));
        let bin = folder.join("bin");
        fs::create_dir_all(&bin).expect("a folder");
        let files =
            [("bin/good", 0o755), ("bin/plain", 0o644), ("here", 0o755), ("agent.py", 0o644)];
        for (name, mode) in files {
            let file = folder.join(name);
            fs::write(&file, "#!/bin/sh\n").expect("a file");
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("it is ours");
        }
        let absolute = bin.join("good").display().to_string();
        let path = OsString::from("gone:bin");
        for (program, says) in [
            ("good", None),
            ("bin/good", None),
            ("./here", None),
            (&*absolute, None),
            ("here", Some("program `here` is not in PATH; did you mean `./here`?")),
            (
                "agent.py",
                Some(
                    "program `agent.py` is not in PATH; did you mean `./agent.py`? It is not \
                     executable; `chmod +x` makes it so",
                ),
            ),
            ("bin", Some("program `bin` is not in PATH")),
            ("gone", Some("program `gone` is not in PATH")),
            ("plain", Some("program `plain` in PATH: is not executable; `chmod +x` makes it so")),
            ("bin/plain", Some("program `bin/plain`: is not executable; `chmod +x` makes it so")),
            ("./bin", Some("program `./bin`: is a directory")),
            ("./gone", Some("program `./gone`: no such file")),
            ("A_KEY=hush", Some("`A_KEY=…` is no program; a variable stands in `env`")),
            ("A=bin/hush", Some("`A=…` is no program; a variable stands in `env`")),
            ("a-b=c", Some("`a-b=…` is no program; a variable stands in `env`")),
            ("A:hush", Some("`A:…` is no program; a variable stands in `env`")),
            (
                "a --key hush",
                Some(
                    "program `a…` is not in PATH; no shell reads it: the program and its \
                     arguments are items of the list",
                ),
            ),
            ("\u{1b}[31ma\nhush", Some("program `\\u{1b}[31ma…` is not in PATH")),
            ("./a\nhush", Some("program `./a…`: no such file")),
        ] {
            let fault = fault_of(program, &folder, &folder, Some(&path));
            assert_eq!(fault.as_deref(), says, "{program}");
        }
        assert_eq!(fault_of("sh", &folder, &folder, None), None);
        // What is relative in the variable, an empty folder too, is so to that of the process.
        assert_eq!(fault_of("here", &bin, &folder, Some(OsStr::new("gone:"))), None);
        assert!(fault_of("good", &folder, &bin, Some(&path)).is_some());
        fs::remove_dir_all(&folder).expect("it is ours");
    }
}
