//! [`Members`] gives tasks to the members of a team that runs.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use futures::stream::{FuturesUnordered, StreamExt as _};
use quell::{
    CancelRequest, Cause, CauseKind, Failure, Outcome, Payload, RunContext, RunId, RunRef,
    RunStatus, Stopped, ToolCall, limits,
};
use serde_json::{Value, json};

use super::builder::{OnMember, Team};
use crate::excerpt::excerpt;

/// The members of a team, as its leader asks them.
///
/// Every request is a tool call in the log of the team, and starts a child run per member. A
/// request is refused when the team is stopping, and when it must fail because of
/// [`OnMember::Fail`].
///
/// # Examples
///
/// ```
/// use quell::{Failure, Payload};
/// use quell_flow::Members;
///
/// async fn lead(members: Members, task: Payload) -> Result<Payload, Failure> {
///     // Two at once, each with a task of its own.
///     let tasks = [("near", task.clone()), ("far", task)];
///     let found = members.ask_each(tasks).await?;
///     Ok(found.into_iter().find_map(|one| one.output).unwrap_or_else(|| "nothing".into()))
/// }
/// # let _ = lead;
/// ```
#[derive(Clone)]
pub struct Members {
    state: Arc<State>,
}

struct State {
    team: Arc<Team>,
    ctx: RunContext,
    calls: AtomicU32,
    /// The failure of the team because of a member; the leader cannot undo it.
    broken: OnceLock<Failure>,
}

/// The result of a task that a member was given.
///
/// # Examples
///
/// ```
/// use quell::RunStatus;
/// use quell_flow::Delegated;
///
/// fn is_whole(one: &Delegated) -> bool {
///     one.status == RunStatus::Completed
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Delegated {
    /// The member.
    pub member: Arc<str>,
    /// Its run.
    pub run: RunId,
    /// The final status of that run.
    pub status: RunStatus,
    /// The output; if the run failed or was stopped, its partial output.
    pub output: Option<Payload>,
    /// The cause of the stop, if the run was stopped.
    pub cause: Option<Arc<Cause>>,
    /// The error, if the run failed.
    pub error: Option<Arc<str>>,
}

impl Delegated {
    /// Yields the output of the member; without one, JSON with the reason.
    pub fn into_output(self) -> Payload {
        match &self.output {
            Some(output) => output.clone(),
            None => self.to_json().into(),
        }
    }

    /// Yields the result as JSON: `{"error": …}` after a failure, else the output, or
    /// `{"stopped": …}` without one.
    pub fn to_json(&self) -> Value {
        match (&self.error, &self.output, &self.cause) {
            (Some(error), ..) => json!({ "error": &**error }),
            (None, Some(output), _) => to_value(output),
            (None, None, Some(cause)) => json!({ "stopped": cause.to_string() }),
            (None, None, None) => Value::Null,
        }
    }

    /// As [`to_json`](Self::to_json), but partial output is not shown as the result: it is
    /// `partial` beside `error` or `stopped`.
    pub fn to_detailed_json(&self) -> Value {
        if self.error.is_none() && self.cause.is_none() {
            return self.to_json();
        }
        let mut said = Self { output: None, ..self.clone() }.to_json();
        if let Some(partial) = &self.output {
            said["partial"] = to_value(partial);
        }
        said
    }

    /// Yields the reason why the member has not completed; none if it has.
    pub(super) fn shortfall(&self) -> Option<String> {
        let member = excerpt(&self.member);
        match (&self.error, &self.cause) {
            (Some(error), _) => Some(error.to_string()),
            (None, Some(cause)) if self.status == RunStatus::TimedOut => {
                Some(format!("`{member}` timed out ({cause})"))
            }
            (None, Some(cause)) => Some(format!("`{member}` was cancelled ({cause})")),
            (None, None) => None,
        }
    }

    fn new(member: &Arc<str>, run: &RunRef, outcome: Outcome<Payload>) -> Self {
        let left = |returned| run.partial_output(returned, Some);
        let (output, cause, error) = match outcome {
            Outcome::Completed(value) => (Some(value), None, None),
            Outcome::Stopped { cause, partial } => (left(partial), Some(cause), None),
            Outcome::Failed(failed) => (left(None), None, Some(failed.to_string().into())),
        };
        let (member, status) = (Arc::clone(member), run.status());
        Self { member, run: run.id(), status, output, cause, error }
    }

    /// Makes the outcome of the tool call.
    fn to_result(&self) -> Result<Payload, Failure> {
        match (&self.error, &self.output, &self.cause) {
            (Some(error), ..) => Err(Failure::new(String::from(&**error))),
            (None, Some(output), _) => Ok(output.clone()),
            (None, None, Some(cause)) => Err(Stopped { cause: Arc::clone(cause) }.into()),
            (None, None, None) => Ok(Value::Null.into()),
        }
    }
}

impl Members {
    pub(super) fn new(team: &Arc<Team>, ctx: &RunContext) -> Self {
        let (team, ctx) = (Arc::clone(team), ctx.clone());
        let (calls, broken) = (AtomicU32::new(0), OnceLock::new());
        Self { state: Arc::new(State { team, ctx, calls, broken }) }
    }

    /// Yields the names, in the order of declaration.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.state.team.members.iter().map(|member| &**member.name())
    }

    /// Gives one member a task and waits for it.
    ///
    /// # Errors
    ///
    /// Fails if no member has that name, if the team is stopping, and if the member failed or was
    /// stopped and the team has [`OnMember::Fail`] for that.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the member: it remains a child of the team, and its
    /// failure then fails the team.
    pub async fn ask(&self, name: &str, task: impl Into<Payload>) -> Result<Delegated, Failure> {
        self.ask_at(self.find(name)?, task.into()).await
    }

    /// As [`Self::ask`], by the index of the member.
    pub(super) async fn ask_at(&self, member: usize, task: Payload) -> Result<Delegated, Failure> {
        let mut all = self.hand_out(vec![(member, task)], Record::Each).await?;
        all.pop().ok_or_else(|| Failure::new("outcome of a member was lost"))
    }

    /// Gives members a task each, at once, and waits for all. The results have the order of the
    /// tasks.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    ///
    /// # Cancel safety
    ///
    /// As [`ask`](Self::ask).
    pub async fn ask_each<N, P>(
        &self,
        tasks: impl IntoIterator<Item = (N, P)>,
    ) -> Result<Vec<Delegated>, Failure>
    where
        N: AsRef<str>,
        P: Into<Payload>,
    {
        let found = tasks.into_iter().map(|(name, task)| Ok((self.find(name.as_ref())?, task)));
        let picks: Result<Vec<_>, Failure> = found.collect();
        let picks = picks?.into_iter().map(|(member, task)| (member, task.into())).collect();
        self.hand_out(picks, Record::Each).await
    }

    /// Gives all members the same task, at once, in one tool call, and waits for all.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    ///
    /// # Cancel safety
    ///
    /// As [`ask`](Self::ask).
    pub async fn ask_all(&self, task: impl Into<Payload>) -> Result<Vec<Delegated>, Failure> {
        let task = task.into();
        let members = 0..self.state.team.members.len();
        let picks = members.map(|member| (member, task.clone())).collect();
        let call = self.call(DELEGATE_TO_ALL, json!({ "task": shown(&task) }));
        let mut all = Vec::new();
        let ask = async {
            all = self.hand_out(picks, Record::Together).await?;
            let results = all.iter().map(|one| (one.member.to_string(), one.to_json()));
            Ok(Value::Object(results.collect()).into())
        };
        self.state.ctx.tool(call, ask).await?;
        Ok(all)
    }

    /// Yields the failure of the team because of a member.
    pub(super) fn broken(&self) -> Option<Failure> {
        self.state.broken.get().cloned()
    }

    fn find(&self, name: &str) -> Result<usize, Failure> {
        let members = &self.state.team.members;
        let by_name = members.iter().position(|member| &**member.name() == name);
        let by_component = || members.iter().position(|member| member.is_of(name));
        by_name.or_else(by_component).ok_or_else(|| {
            let names: Vec<_> = self.names().map(|name| format!("`{}`", excerpt(name))).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let (team, name) = (excerpt(&self.state.team.id), excerpt(name));
            Failure::new(format!("team `{team}` has no member `{name}`, it has {names}"))
        })
    }

    fn call(&self, tool: &'static str, input: Value) -> ToolCall {
        let id = self.state.ctx.id();
        let id = match self.state.calls.fetch_add(1, Ordering::Relaxed) {
            0 => format!("call_{id}"),
            number => format!("call_{id}_{number}"),
        };
        ToolCall::new(id, tool, input.into())
    }

    /// Starts members, waits until all have ended, and applies the [`OnMember`] options.
    async fn hand_out(
        &self,
        picks: Vec<(usize, Payload)>,
        record: Record,
    ) -> Result<Vec<Delegated>, Failure> {
        if let Some(broken) = self.broken() {
            return Err(broken);
        }
        let runs: Vec<OnceLock<RunRef>> = picks.iter().map(|_| OnceLock::new()).collect();
        let asked = picks.into_iter().zip(&runs).enumerate();
        let mut ends: FuturesUnordered<_> = asked
            .map(|(place, ((member, task), run))| async move {
                (place, self.ask_one(member, task, run, record).await)
            })
            .collect();
        let mut all: Vec<Option<Delegated>> = runs.iter().map(|_| None).collect();
        let mut failure = None;
        while let Some((place, end)) = ends.next().await {
            match end {
                Ok(one) => {
                    if failure.is_none() && self.breaks(&one) {
                        failure = Some(self.fail_for(&one, &runs));
                    }
                    all[place] = Some(one);
                }
                Err(refused) => failure = failure.or(Some(refused)),
            }
        }
        // A stop of the team goes before a failure: the members failed or stopped because of it.
        self.stopped()?;
        failure.map_or_else(|| Ok(all.into_iter().flatten().collect()), Err)
    }

    async fn ask_one(
        &self,
        member: usize,
        task: Payload,
        run: &OnceLock<RunRef>,
        record: Record,
    ) -> Result<Delegated, Failure> {
        let ctx = &self.state.ctx;
        let member = &self.state.team.members[member];
        let shown = (record == Record::Each).then(|| shown(&task));
        let work = async {
            let handle = member.start(ctx, task);
            let run = run.get_or_init(|| handle.run().clone());
            Delegated::new(member.name(), run, handle.outcome().await)
        };
        let Some(task) = shown else { return Ok(work.await) };
        let input = json!({ "member_id": &**member.name(), "task": task });
        let mut ended = None;
        let ask = async {
            let result = ended.insert(work.await).to_result();
            // If the team is stopping, the member ended because of that: the call is cancelled.
            self.stopped()?;
            result
        };
        match (ctx.tool(self.call(DELEGATE_TO_ONE, input), ask).await, ended) {
            (_, Some(one)) => Ok(one),
            (Err(refused), None) => Err(refused),
            (Ok(_), None) => Err(Failure::new("outcome of a member was lost")),
        }
    }

    /// Tells whether the end of a member fails the team.
    fn breaks(&self, one: &Delegated) -> bool {
        let word = match one.status {
            RunStatus::Failed => self.state.team.on_failed,
            RunStatus::Cancelled | RunStatus::TimedOut => self.state.team.on_stopped,
            _ => OnMember::GoOn,
        };
        word == OnMember::Fail && self.stopped().is_ok()
    }

    /// Stops the members that were asked together with this one, and yields the failure of the
    /// team.
    fn fail_for(&self, one: &Delegated, runs: &[OnceLock<RunRef>]) -> Failure {
        let Delegated { member, error, cause, .. } = one;
        let member = excerpt(member);
        let reason = match (error, cause) {
            (Some(error), _) => format!("member `{member}` failed: {error}"),
            (None, Some(cause)) => format!("member `{member}` was stopped ({cause})"),
            (None, None) => format!("member `{member}` did not complete"),
        };
        let failure = Failure::new(reason);
        // Several requests may fail at once: the first failure is that of the team.
        let failure = self.state.broken.get_or_init(|| failure).clone();
        let words = format!("member `{member}` did not complete");
        let request = CancelRequest::because(&words).kind(CauseKind::SiblingFailed);
        for run in runs.iter().filter_map(OnceLock::get).filter(|run| run.id() != one.run) {
            run.cancel(request.clone());
        }
        failure
    }

    /// Fails if the team is stopping. `checkpoint` would make the leader a listener, so the status
    /// is read first: a leader that never asks about stops does not become one.
    fn stopped(&self) -> Result<(), Stopped> {
        let ctx = &self.state.ctx;
        if ctx.run().status() == RunStatus::Running { Ok(()) } else { ctx.checkpoint() }
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members").field("team", &self.state.team.id).finish_non_exhaustive()
    }
}

/// Whether members that are asked together have a tool call each, or one for all of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Record {
    Each,
    Together,
}

/// Yields the task as the tool call records it: one that is too large for an event is recorded by
/// its size.
fn shown(task: &Payload) -> Value {
    if task.len() > limits::EVENT_BYTES_MAX / 2 {
        return json!({ "bytes": task.len() });
    }
    to_value(task)
}

/// Parses a payload. One that a value cannot hold, for instance a number out of range, becomes its
/// text.
fn to_value(payload: &Payload) -> Value {
    payload.parse().unwrap_or_else(|_| Value::from(payload.as_json()))
}

/// The tool by which a leader hands a task to all members.
const DELEGATE_TO_ALL: &str = "delegate_task_to_members";

/// The tool by which a leader hands a task to one member.
const DELEGATE_TO_ONE: &str = "delegate_task_to_member";
