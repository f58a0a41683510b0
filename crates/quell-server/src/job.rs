//! [`Job`]: a plan, a component or a single command that `quell run` runs.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::TryFutureExt as _;
use quell::{Engine, Payload, Recovery, RunContext, RunId, RunRef, RunSpec, SubmitError};
use quell_flow::{
    Component, ComponentKind, LinkedPlan, PartError, PlanFormat, PlanPart, PlanPast, excerpt,
    guess, program_of, variable_of,
};

use crate::answers::Answer;
use crate::args::RunArgs;
use crate::config;
use crate::environment::{self, Inherits};
use crate::faults::{check_of, plan_check_of, under_error, warned_shortly};
use crate::outputs::Former;
use crate::plan;
use crate::processes::{Processes, output};
use crate::quoted::quoted;
use crate::report_file::Given;
use crate::shell_word::shell_word;
use crate::stdout;
use crate::store::{GRACE, Left, OpenStore, PLAN_FILE, TIMEOUT, as_annotation};

/// A plan, component or command, checked as far as possible without running it.
pub(crate) struct Job {
    spec: RunSpec,
    input: Option<Payload>,
    answers: Vec<Answer>,
    left: Option<Left>,
    /// The words of a command line that goes on with its run, before and behind the id of that.
    again: Option<(String, String)>,
    body: Body,
}

enum Body {
    /// What runs its commands, too.
    Plan(LinkedPlan, Processes),
    Component(Arc<Component>),
    /// A program and its arguments.
    Command(OsString, Vec<OsString>),
}

impl Job {
    /// Reads the plan, or takes the command, and what the command line says about either.
    ///
    /// # Errors
    ///
    /// Fails with one message if there is no plan or the plan is wrong.
    pub(crate) fn load(args: RunArgs) -> Result<Self, String> {
        let again = again(&args);
        let mut command = args.command.into_iter();
        let left = match (&args.resume, &args.store) {
            (Some(run), Some(store)) => Some(Left::find(store, run)?),
            _ => None,
        };
        let plan = match (args.plan, &left) {
            (None, Some(left)) => Some(left.plan()?),
            (plan, _) => plan,
        };
        let file = plan.as_deref().and_then(|plan| plan.canonicalize().ok());
        let (mut spec, body) = match (plan, command.next()) {
            (Some(path), _) => {
                let (spec, body) = named(&path, args.config.as_deref())?;
                let only = args.only.as_deref().map(PlanPart::Only);
                match only.or(args.from.as_deref().map(PlanPart::From)) {
                    Some(part) => (spec, part_of(body, part, args.outputs.as_deref())?),
                    None => (spec, body),
                }
            }
            (None, Some(program)) => {
                let spec = RunSpec::step(file_name(&program));
                (spec, Body::Command(program, command.collect()))
            }
            (None, None) => return Err("there is neither a plan nor a command".into()),
        };
        check_waits(&body, &args.answer)?;
        if let (Body::Plan(plan, _), true) = (&body, args.store.is_some()) {
            spec = plan.recorded_spec();
            if let Some(file) = file.as_deref().and_then(Path::to_str) {
                spec = spec.annotation(PLAN_FILE, file.into());
            }
            for (key, time) in [(TIMEOUT, args.timeout), (GRACE, args.grace)] {
                let time = time.map(as_annotation);
                spec = time.into_iter().fold(spec, |spec, time| spec.annotation(key, time));
            }
        } else if left.is_some() {
            return Err("`--resume` goes on with a plan; this is a component".to_owned());
        }
        spec = timed(spec, (args.timeout, args.grace), left.as_ref());
        if let Some(input) = &args.input {
            spec = spec.input(input.clone());
        }
        Ok(Self { spec, input: args.input, answers: args.answer, left, again, body })
    }

    /// Tells whether it is a component, whose output is an answer.
    pub(crate) const fn is_component(&self) -> bool {
        matches!(self.body, Body::Component(_))
    }

    /// Takes the answers to the steps that wait.
    pub(crate) fn take_answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }

    /// Yields the command line with which its run goes on if it is left paused; none if it cannot.
    pub(crate) fn again(&self) -> Option<impl Fn(RunId) -> String + use<>> {
        let (before, behind) = self.again.clone()?;
        matches!(self.body, Body::Plan(..)).then_some(move |run| format!("{before}{run}{behind}"))
    }

    /// Yields the outputs that a part of a plan was given.
    pub(crate) fn given(&self) -> Given {
        match &self.body {
            Body::Plan(plan, _) => plan.given().iter().cloned().collect(),
            Body::Component(_) | Body::Command(..) => Given::new(),
        }
    }

    /// Yields the run of the store that goes on with it, if it is to be none of its own, and how.
    ///
    /// # Errors
    ///
    /// Fails with what to do if that run is one of another plan.
    pub(crate) async fn going_on(
        &mut self,
        store: &OpenStore,
    ) -> Result<Option<(RunId, Recovery)>, String> {
        let (Some(left), Body::Plan(plan, processes)) = (self.left.take(), &self.body) else {
            return Ok(None);
        };
        let past = left.past(store, plan).await?;
        let attempt = plan.clone().recorded(past, processes.clone());
        let body = move |ctx| attempt(ctx).map_ok(drop);
        let how = Recovery::resumable(self.spec.clone(), body).despite_losses();
        Ok(Some((left.record().run(), how)))
    }

    /// Starts it, when the store has it if there is one.
    ///
    /// # Errors
    ///
    /// Fails if the engine refuses, for instance because of a name that is too long, or the store
    /// cannot take it.
    ///
    /// # Cancel safety
    ///
    /// It starts if the store has taken it, although the future was dropped.
    pub(crate) async fn submit(self, engine: &Engine) -> Result<RunRef, SubmitError> {
        let handle = match self.body {
            Body::Plan(plan, processes) => {
                let body = plan.recorded(PlanPast::default(), processes);
                engine.submit_resumable_durably(self.spec, body).await?
            }
            Body::Component(component) => {
                let input = self.input.unwrap_or_else(|| serde_json::Value::Null.into());
                component.start_durably(engine, self.spec, input).await?
            }
            Body::Command(program, arguments) => {
                let body = async move |ctx: RunContext| {
                    let process =
                        environment::program(program, Inherits::All, &ctx).args(arguments);
                    output(process, ctx).await
                };
                engine.submit_durably(self.spec, body).await?
            }
        };
        Ok(handle.into_ref())
    }
}

/// Finds a plan by its file, or a component by its name.
fn named(path: &Path, config: Option<&Path>) -> Result<(RunSpec, Body), String> {
    let name = path.to_string_lossy();
    if let Some(variable) = variable_of(&name).filter(|_| !path.exists()) {
        return Err(format!(
            "`{variable}=…` is a variable and no plan; a program goes after `--`, and its \
             variables before quell: `{variable}=… quell run -- make`"
        ));
    }
    if PlanFormat::of(path).is_err() && !path.exists() && !plan::is_stdin(path) {
        let mut plan = String::from("a plan would be a file, `.toml`, `.json` or `.yaml`");
        let shown = quoted(&name);
        if ComponentKind::split(&name).is_none() {
            plan.extend(["; a program would be `quell run -- ", &shown, "`"]);
        }
        let (catalog, _) = config::catalog(config).map_err(|faults| {
            let file = config.or(config::default_file());
            let of = match file {
                Some(_) => String::new(),
                None => format!("component `{shown}`: {plan}; "),
            };
            of + &under_error(&faults, &check_of(file.unwrap_or(Path::new(config::DEFAULT))))
        })?;
        let component = catalog.named_as(&name, &shown).map_err(|words| {
            let end = if words.ends_with('?') { " A" } else { "; a" };
            format!("{words}{end}{}", &plan[1..])
        })?;
        return Ok((component.spec(), Body::Component(Arc::clone(component))));
    }
    let lister = plan_check_of(path, config);
    let plan = plan::load(path).map_err(|refusal| under_error(refusal.faults(), &lister))?;
    stdout::complain(&warned_shortly(plan.warnings(), &lister));
    let linked = config::linked(plan, config).map_err(|faults| under_error(&faults, &lister))?;
    let (plan, without) = linked;
    Ok((plan.plan().spec(), Body::Plan(plan, Processes { without })))
}

/// Sets the timeout and the grace of the command line, or else those of the one with which the run
/// began.
fn timed(
    mut spec: RunSpec,
    (timeout, grace): (Option<Duration>, Option<Duration>),
    left: Option<&Left>,
) -> RunSpec {
    let or_first =
        |given: Option<Duration>, key| given.or_else(|| left.and_then(|left| left.time(key)));
    if let Some(timeout) = or_first(timeout, TIMEOUT) {
        spec = spec.timeout(timeout);
    }
    if let Some(grace) = or_first(grace, GRACE) {
        spec = spec.grace(grace);
    }
    spec
}

/// Yields the words of a command line that goes on with a run of a store, before and behind its id.
fn again(args: &RunArgs) -> Option<(String, String)> {
    let store = args.store.as_deref()?;
    let word = |word: &OsStr| shell_word(&word.to_string_lossy());
    let mut before = String::from("quell run ");
    if let Some(plan) = &args.plan {
        before.extend([&word(plan.as_os_str()), " "]);
    }
    let options = [
        ("--config ", args.config.as_deref().map(Path::as_os_str)),
        ("--only ", args.only.as_deref().map(OsStr::new)),
        ("--from ", args.from.as_deref().map(OsStr::new)),
        ("--outputs ", args.outputs.as_deref().map(Path::as_os_str)),
    ];
    for (option, value) in options {
        if let Some(value) = value {
            before.extend([option, &word(value), " "]);
        }
    }
    before.push_str("--resume ");
    Some((before, format!(" --store {}", word(store.as_os_str()))))
}

/// Refuses an answer that no step waits for.
fn check_waits(body: &Body, answers: &[Answer]) -> Result<(), String> {
    let waits = match body {
        Body::Plan(plan, _) => plan.plan().waits(),
        Body::Component(component) => component.waits().iter().map(String::as_str).collect(),
        Body::Command(..) => Vec::new(),
    };
    let unknown = |answer: &&Answer| !waits.contains(&&*answer.step);
    let Some(Answer { step, .. }) = answers.iter().find(unknown) else { return Ok(()) };
    let right = match guess(step, waits.iter().copied()) {
        Some(meant) => format!("did you mean `{}`?", excerpt(meant)),
        None if waits.is_empty() => "no step of it waits".to_owned(),
        None => {
            let names: Vec<_> = waits.iter().map(|step| excerpt(step)).collect();
            format!("expected one of `{}`", names.join("`, `"))
        }
    };
    Err(format!("`--answer`: no step `{}` waits for an answer; {right}", excerpt(step)))
}

/// Keeps a part of a plan, with the outputs of a former run.
fn part_of(body: Body, part: PlanPart<'_>, report: Option<&Path>) -> Result<Body, String> {
    let Body::Plan(plan, processes) = body else {
        return Err("`--only` and `--from` name a step of a plan; this is a component".to_owned());
    };
    let Some(report) = report else {
        let part = plan.part(part, &BTreeMap::new()).map_err(|error| match error {
            PartError::Missing(_) => {
                format!("{error}; `--outputs FILE` gives those of a report that `--report` wrote")
            }
            _ => error.to_string(),
        });
        return part.map(|part| Body::Plan(part, processes));
    };
    let former = Former::load(report, plan.plan())?;
    let part = plan.part(part, &former.outputs).map_err(|error| match error {
        PartError::Missing(missing) => {
            let lines: Vec<_> = missing.iter().map(|one| former.explained(one)).collect();
            lines.join("; ")
        }
        _ => error.to_string(),
    });
    part.map(|part| Body::Plan(part, processes))
}

/// Yields the name of a program, which is that of its step. What a variable is set to in its place
/// may be a secret.
fn file_name(program: &OsStr) -> String {
    let word = program.to_string_lossy();
    let begin = program_of(&word);
    if begin.ends_with(['=', ':']) {
        return format!("{begin}…");
    }
    let name = Path::new(program).file_name().unwrap_or(program);
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_of_a_program_has_its_name_and_no_value_of_a_variable() {
        for (program, name) in [
            ("make", "make"),
            ("/opt/a b/tool", "tool"),
            ("API_KEY=hush", "API_KEY=…"),
            ("API_KEY=hu/sh", "API_KEY=…"),
            ("A:hu/sh", "A:…"),
        ] {
            assert_eq!(file_name(OsStr::new(program)), name);
        }
    }
}
