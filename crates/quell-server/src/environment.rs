//! [`program`]: a program, with what its environment says of its run.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::time::{Instant, SystemTime};

use quell::{RunContext, RunRef};
use quell_flow::{NodesAsked, attempt_number};
use quell_http::{EXTERNAL_ID, SESSION, external_id};
use quell_process::Process;

/// What a program gets of the environment of quell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inherits {
    /// Every variable.
    All,
    /// What it takes to find programs, and nothing else: `env_clear`.
    Path,
}

impl Inherits {
    /// Reads the key `env_clear` of a component or a step.
    pub(crate) const fn of(env_clear: bool) -> Self {
        if env_clear { Self::Path } else { Self::All }
    }
}

/// Names a program, and sets the variables that every program has. What the caller sets or takes
/// out after that counts.
pub(crate) fn program(
    program: impl Into<OsString>,
    inherits: Inherits,
    ctx: &RunContext,
) -> Process {
    let process = Process::new(program);
    let process = match inherits {
        // A `quell` that was started by another one must not say of its runs what is so of that
        // one's.
        Inherits::All => {
            let inherited = env::vars_os().map(|(key, _)| key).filter(|key| is_of_a_run(key));
            inherited.fold(process, Process::env_remove)
        }
        Inherits::Path => {
            let kept = KEPT.iter().filter_map(|key| Some((key, env::var_os(key)?)));
            kept.fold(process.env_clear(), |process, (key, value)| process.env(key, value))
        }
    };
    variables(ctx).into_iter().fold(process, |process, (key, value)| process.env(key, value))
}

fn is_of_a_run(key: &OsStr) -> bool {
    let name = key.as_encoded_bytes();
    [RUN_ID, RUN_SESSION, ATTEMPT, DEADLINE, NODES].iter().any(|own| own.as_bytes() == name)
        || name.starts_with(LABEL.as_bytes())
}

/// Yields what the environment of a program says of its run.
pub(crate) fn variables(ctx: &RunContext) -> BTreeMap<String, String> {
    let (run, root) = (ctx.run(), ctx.run().root());
    // The later one counts: a label of the run hides one of the root.
    let labels = [&root, run].into_iter().filter_map(RunRef::labels).flatten();
    let labels = labels.filter_map(|(key, value)| Some((label(key)?, value.clone())));
    let mut all: BTreeMap<_, _> = labels.collect();
    let mut set = |key: &str, value: String| drop(all.insert(key.to_owned(), value));
    set(RUN_ID, external_id(run).into_owned());
    set(ATTEMPT, attempt_number(run).to_string());
    if let Some(session) = run.label(SESSION).or_else(|| root.label(SESSION)) {
        set(RUN_SESSION, session.to_owned());
    }
    if let Some(deadline) = ctx.deadline().and_then(epoch_ms) {
        set(DEADLINE, deadline.to_string());
    }
    let asked = NodesAsked::of(ctx);
    if asked != NodesAsked::default()
        && let Ok(asked) = serde_json::to_string(&asked)
    {
        set(NODES, asked);
    }
    if env::var_os(UNBUFFERED).is_none() {
        set(UNBUFFERED, "1".to_owned());
    }
    // An environment cannot hold a NUL: the program would not start.
    all.retain(|_, value| !value.contains('\0'));
    all
}

/// Yields the variable of a label; none for one that has a variable of another name, or no name.
fn label(key: &str) -> Option<String> {
    if ["", SESSION, EXTERNAL_ID].contains(&key) {
        return None;
    }
    let spelt = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    Some(key.chars().map(spelt).fold(LABEL.to_owned(), |name, c| name + c.encode_utf8(&mut [0; 4])))
}

/// Yields milliseconds since 1970. None for an instant that the wall clock cannot name.
fn epoch_ms(at: Instant) -> Option<u128> {
    let left = at.saturating_duration_since(Instant::now());
    let wall = SystemTime::now().checked_add(left)?;
    Some(wall.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis())
}

pub(crate) const RUN_ID: &str = "QUELL_RUN_ID";
pub(crate) const RUN_SESSION: &str = "QUELL_SESSION";
pub(crate) const ATTEMPT: &str = "QUELL_ATTEMPT";
pub(crate) const DEADLINE: &str = "QUELL_DEADLINE_MS";
pub(crate) const NODES: &str = "QUELL_NODES";

/// What a program has of the environment of quell in any case.
const KEPT: [&str; 2] = ["PATH", UNBUFFERED];

/// What precedes the name of a label.
const LABEL: &str = "QUELL_LABEL_";

/// Python then writes what is printed at once, also to a pipe.
const UNBUFFERED: &str = "PYTHONUNBUFFERED";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use quell::{Engine, RunSpec};

    use super::*;

    /// Yields the variables of a child of a run.
    fn of_a_child(root: RunSpec, child: RunSpec) -> BTreeMap<String, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let engine = Engine::new();
            let run = engine.submit(root, async |ctx| {
                Ok(ctx.spawn(child, async |ctx| Ok(variables(&ctx))).await?)
            });
            run.expect("it is accepted").outcome().await.into_value().expect("it completes")
        })
    }

    #[test]
    fn labels_of_the_run_and_its_root_have_safe_names_and_the_nearer_counts() {
        let root = RunSpec::workflow("root")
            .label("customer", "ada")
            .label("lang=\0\u{fc}.x", "de")
            .label("both", "root")
            .label("nul", "a\0b")
            .label("", "nobody")
            .label(SESSION, "s-1");
        let all = of_a_child(root, RunSpec::step("child").label("both", "child"));
        let labels = all.iter().filter_map(|(key, value)| Some((key.strip_prefix(LABEL)?, value)));
        let labels: Vec<_> = labels.map(|(key, value)| (key, value.as_str())).collect();
        assert_eq!(labels, [("BOTH", "child"), ("CUSTOMER", "ada"), ("LANG____X", "de")]);
        assert_eq!(all[RUN_SESSION], "s-1");
        assert_eq!(all[ATTEMPT], "1");
        assert!(!all.contains_key(DEADLINE));
    }

    #[test]
    fn the_page_of_programs_lists_the_variables_of_a_run_and_no_other() {
        let page = crate::help::PROCESS_PAGE;
        let rows = page.lines().skip_while(|line| *line != "| variable | value |");
        let listed = rows.map_while(|row| row.strip_prefix('|')).filter_map(|row| {
            let (name, _) = row.strip_prefix(" `")?.split_once("` |")?;
            Some(name.to_owned())
        });
        // The first is the guardian's, the other one of a run that is asked something of its nodes.
        let of_some = ["QUELL_PROCESS_IDS", NODES];
        let listed: BTreeSet<_> = listed.filter(|name| !of_some.contains(&&**name)).collect();
        // The session and the id of a caller have variables of their own, and none of a label.
        let root = RunSpec::workflow("root").label("name", "x");
        let root = root.label(SESSION, "s").label(EXTERNAL_ID, "e");
        let timeout = Duration::from_hours(24);
        let all = of_a_child(root.timeout(timeout), RunSpec::step("child"));
        // That of Python is not set if the environment of the tests has it.
        let set: BTreeSet<_> = all.into_keys().chain([UNBUFFERED.to_owned()]).collect();
        assert_eq!(listed, set);
    }

    #[test]
    fn the_earliest_deadline_counts() {
        let day = Duration::from_hours(24);
        let all = of_a_child(
            RunSpec::workflow("root").timeout(day),
            RunSpec::step("child").timeout(2 * day),
        );
        let now = epoch_ms(Instant::now()).expect("it is after 1970");
        let left = all[DEADLINE].parse::<u128>().expect("a number") - now;
        assert!(left <= day.as_millis() && left > day.as_millis() / 2, "{left} ms");
    }
}
