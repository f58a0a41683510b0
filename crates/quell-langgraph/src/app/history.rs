//! [`App::history`]: the states that the runs of a thread have left (contract, section 4).
//!
//! Each run that has ended, or asks something, has left one: its values; a run of a graph with
//! nodes one after each of its steps, also while it is live. A run that was rolled back or deleted
//! has left none, and neither has one that the engine and the store have forgotten, but for the
//! last one, whose values are those of the thread.

use std::sync::Arc;

use quell::{RunRow, RunStatus};
use quell_http::{RunView, View};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::App;
use crate::app::elsewhere::of_thread;
use crate::app::states::Which;
use crate::app::stored::is_taken_back;
use crate::threads::{Mark, Thread};
use crate::values::{Step, Values, bytes_of};
use crate::wire::asked::{Asked, INPUTS, next_of, row_in_thread};
use crate::wire::exact::{Keys, written};
use crate::wire::interrupt::Interrupt;
use crate::wire::refusal::Refusal;
use crate::wire::rows::thread_error;
use crate::wire::state::StateParts;

/// A state of a thread, and its values.
pub(crate) type State = (StateParts, Option<Arc<Values>>);

/// What is known of the states that a run has left, before its log is read.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: Uuid,
    pub(super) mark: Option<Mark>,
    pub(super) status: RunStatus,
    pub(super) is_update: bool,
    /// Its graph has nodes.
    pub(super) has_nodes: bool,
    /// The state on which it has started, if that was not the last one.
    pub(super) fork: Option<Uuid>,
    /// What came next where it started, as far as it keeps that.
    pub(super) next_kept: Vec<String>,
    /// What its states have in common, and what its last one has besides.
    pub(super) parts: StateParts,
    pub(super) from: From,
}

impl Known {
    /// Tells whether it has left states after its steps.
    pub(super) const fn has_steps(&self) -> bool {
        self.has_nodes && !self.is_update
    }
}

/// Where the values of a state are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Run(Uuid),
    /// The run has been forgotten: what it left is in its thread.
    Thread,
    /// The thread was made with them.
    Base,
}

/// Which states of a thread are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// So many at most.
    pub(crate) limit: usize,
    /// Those before this one; none for all.
    pub(crate) before: Option<Uuid>,
    /// Not all of them are meant.
    pub(crate) is_search: bool,
}

impl App {
    /// Lists states of a thread, the newest first: those that are wanted, and meant, which is asked
    /// with their metadata.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or has not all of it.
    pub(crate) async fn history(
        &self,
        view: &View,
        thread: &Arc<Thread>,
        wanted: Wanted,
        is_meant: impl FnMut(&Keys) -> bool + Send,
    ) -> Result<Vec<State>, Refusal> {
        let known = self.known_states(view, thread).await?;
        let begin = match wanted.before {
            Some(before) => before_of(&known, before),
            None => Some((0, Which::all())),
        };
        let Some(begin) = begin else { return Ok(Vec::new()) };
        self.walk(view, thread, (&known, begin), wanted, is_meant).await
    }

    /// Yields a state of a thread: this one, or the last one.
    ///
    /// # Errors
    ///
    /// As [`App::history`].
    pub(crate) async fn state(
        &self,
        view: &View,
        thread: &Arc<Thread>,
        id: Option<Uuid>,
    ) -> Result<Option<State>, Refusal> {
        let known = self.known_states(view, thread).await?;
        let begin = match id {
            Some(id) => place_of(&known, id),
            None => Some((0, Which::all())),
        };
        let Some(begin) = begin else { return Ok(None) };
        let wanted = Wanted { limit: 1, before: None, is_search: false };
        let found = self.walk(view, thread, (&known, begin), wanted, |_| true).await?;
        let found = found.into_iter().next();
        Ok(found.filter(|(parts, _)| id.is_none_or(|id| parts.id == id)))
    }

    /// Lists states from a place on, each with its parent.
    async fn walk(
        &self,
        view: &View,
        thread: &Arc<Thread>,
        (known, (first, which)): (&[Known], (usize, Which)),
        wanted: Wanted,
        mut is_meant: impl FnMut(&Keys) -> bool + Send,
    ) -> Result<Vec<State>, Refusal> {
        let (mut found, mut weight, mut room) = (Vec::<State>::new(), 0, None);
        // Whether the state before, which is in the list, has yet to be told its parent.
        let mut is_orphan = false;
        let (mut runs, mut which, mut at_once) = (known.iter().skip(first), which, STEPS_MAX);
        let mut next = runs.next();
        while let Some(known) = next {
            let left = wanted.limit.saturating_sub(found.len());
            if left == 0 && !is_orphan {
                break;
            }
            let most = if wanted.is_search { at_once } else { left.clamp(1, at_once) };
            let states = self.states_in(view, thread, known, which.most(most)).await?;
            let Some(states) = states else {
                if most == 1 {
                    return Err(Refusal::invalid("the state is too large to be shown"));
                }
                at_once = most / 2;
                continue;
            };
            let last = states.last().filter(|_| states.len() == most && known.has_steps());
            match last.map(|(last, _)| (last.id == known.id, seq_in(known, last.id))) {
                Some((true, _)) => which = which.before(),
                Some((_, Some(seq))) if seq > 0 => which = Which::until(seq).before(),
                _ => (next, which) = (runs.next(), Which::all()),
            }
            for (parts, values) in states {
                if is_orphan && let Some((last, _)) = found.last_mut() {
                    last.parent = last.parent.or(Some(parts.id));
                }
                is_orphan = false;
                let is_wanted = found.len() < wanted.limit;
                if is_wanted && parts.metadata.parse().is_ok_and(|keys| is_meant(&keys)) {
                    weight += parts.bytes() + values.as_deref().map_or(0, bytes_of);
                    // What is held is no more than may be answered.
                    drop(room.replace(view.room_now(weight)?));
                    is_orphan = parts.parent.is_none();
                    found.push((parts, values));
                }
            }
        }
        Ok(found)
    }

    /// Lists what is known of the states of a thread, by the runs that have left them, the newest
    /// first.
    async fn known_states(&self, view: &View, thread: &Arc<Thread>) -> Result<Vec<Known>, Refusal> {
        let view = self.owner_view(view, thread);
        let (mut known, mut next) = (Vec::new(), None);
        let left = |run: &RunView| {
            let row = row_in_thread(run);
            let is_over = row.status.is_terminal() || row.status == RunStatus::Paused;
            let has_left = is_over || view.component_of(run.clone()).is_some_and(has_nodes);
            let is_over = row.started_at.is_some() && has_left && !goes_nowhere(&view, run);
            is_over && !run.is_rolled_back() && !is_taken_back(run)
        };
        let shown = |run: &RunView| left(run) && !self.hidden().has(run.id());
        for _ in 0..PARTS_MAX {
            let page =
                view.list_omitting((of_thread(thread.id), INPUTS), PART, next, shown).await?;
            known.extend(page.runs.iter().filter_map(|run| self.known_of(&view, run, thread.id)));
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        let last = thread.left_values(self.engine());
        let is_there = |mark: Mark| known.iter().any(|known| known.mark == Some(mark));
        if let (Some(mark), Some(_)) = last
            && !is_there(mark)
        {
            let mut bare = bare(thread, mark.run().as_uuid(), Some(mark), From::Thread);
            bare.parts.next = thread.ground(self.engine()).next;
            known.push(bare);
        }
        known.sort_by_key(|known| std::cmp::Reverse((known.mark.is_none(), known.mark, known.id)));
        if thread.card().base.is_some() && next.is_none() {
            known.push(bare(thread, Uuid::new_v5(&thread.id, b"base"), None, From::Base));
        }
        let count = known.len();
        for (nth, known) in known.iter_mut().enumerate() {
            known.parts.metadata = with_step(&known.parts.metadata, json!(count - 1 - nth));
        }
        Ok(known)
    }

    fn known_of(&self, view: &View, run: &RunView, thread: Uuid) -> Option<Known> {
        let asked = Asked::of(run)?;
        let row = run.row();
        let interrupt = Interrupt::of(run);
        let mut metadata: Keys = asked.metadata.parse().unwrap_or_default();
        let source = if asked.is_update { "update" } else { "loop" };
        let run_id = run.id().to_string();
        let own = [("source", json!(source)), ("run_id", json!(run_id)), ("parents", json!({}))];
        metadata.extend(own.map(|(key, value)| (key.to_owned(), value.into())));
        let is_cut = row.status != RunStatus::Completed;
        let graph = run.label(quell_flow::COMPONENT).unwrap_or_default().to_owned();
        let error = thread_error(&row, asked.limit_ms, self.options().unmasked_errors);
        let pause = run.pause_state().map(|pause| pause.attempt);
        let id = match pause {
            // What it leaves at its end is another state.
            Some(nr) => Uuid::new_v5(&run.id().as_uuid(), format!("checkpoint {nr}").as_bytes()),
            None => run.id().as_uuid(),
        };
        let parts = StateParts {
            thread,
            id,
            parent: None,
            next: is_cut.then_some(graph).into_iter().collect(),
            metadata: written(&metadata),
            at: row.ended_at.or(row.started_at).unwrap_or(row.queued_at),
            interrupt,
            error: error_of(&row, &error),
            input: None,
        };
        Some(Known {
            id,
            mark: row.status.is_terminal().then(|| Mark::of(&row)),
            status: row.status,
            is_update: asked.is_update,
            has_nodes: view.component_of(run.clone()).is_some_and(has_nodes),
            fork: asked.fork,
            next_kept: next_of(run).unwrap_or_default(),
            parts,
            from: From::Run(run.id().as_uuid()),
        })
    }
}

/// Tells whether a run was to go on with a graph that is one step: it began nothing, and failed.
fn goes_nowhere(view: &View, run: &RunView) -> bool {
    run.status() == RunStatus::Failed
        && Asked::of(run).is_some_and(|asked| asked.goes_on && asked.input.is_null())
        && view.component_of(run.clone()).is_some_and(|graph| !has_nodes(graph))
}

fn has_nodes(graph: &Arc<quell_flow::Component>) -> bool {
    !graph.nodes_of().is_empty()
}

/// Finds the place of a state among those of the runs.
fn place_of(known: &[Known], id: Uuid) -> Option<(usize, Which)> {
    let place = |(nth, known): (usize, &Known)| match seq_in(known, id) {
        _ if known.id == id => Some((nth, Which::all())),
        Some(seq) => Some((nth, Which::until(seq))),
        None => None,
    };
    known.iter().enumerate().find_map(place)
}

/// Yields the number of the event that says a state, if that is a step of this run.
fn seq_in(known: &Known, id: Uuid) -> Option<u64> {
    match known.from {
        From::Run(run) if known.has_nodes => Step::seq_of(id, quell::RunId::from_uuid(run)),
        _ => None,
    }
}

/// Finds the place of those before a state.
fn before_of(known: &[Known], id: Uuid) -> Option<(usize, Which)> {
    let (nth, which) = place_of(known, id)?;
    Some(match known.get(nth) {
        Some(known) if known.has_steps() => (nth, which.before()),
        _ => (nth + 1, Which::all()),
    })
}

/// Writes metadata with the number of the step.
pub(super) fn with_step(metadata: &quell::Payload, step: Value) -> quell::Payload {
    let mut metadata: Keys = metadata.parse().unwrap_or_default();
    metadata.insert("step".to_owned(), step.into());
    written(&metadata)
}

/// Says in a line why a run was cut that failed.
fn error_of(row: &RunRow, error: &Value) -> Option<String> {
    if !matches!(row.status, RunStatus::Failed | RunStatus::TimedOut) {
        return None;
    }
    let part = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    Some(format!("{}: {}", part("error"), part("message")))
}

/// Makes what is known of a state of which no run tells.
fn bare(thread: &Thread, id: Uuid, mark: Option<Mark>, from: From) -> Known {
    let source = if from == From::Base { "fork" } else { "loop" };
    let metadata = json!({ "source": source, "parents": {}, "thread_id": thread.id.to_string() });
    let parts = StateParts {
        thread: thread.id,
        id,
        parent: None,
        next: Vec::new(),
        metadata: metadata.into(),
        at: mark.map_or(thread.made_at(), Mark::at),
        interrupt: None,
        error: None,
        input: None,
    };
    let (status, is_update, has_nodes) = (RunStatus::Completed, false, false);
    let (fork, next_kept) = (None, Vec::new());
    Known { id, mark, status, is_update, has_nodes, fork, next_kept, parts, from }
}

/// Runs of one part of the list, and the parts that are read.
const PART: usize = 100;
const PARTS_MAX: usize = 10;

/// Steps of one run that are read at once; fewer, if their values are too large to be held.
const STEPS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use quell::Payload;
    use quell_flow::{Catalog, Component};
    use quell_http::{SESSION, Start};

    use super::*;
    use crate::app::gone::tests::two_with;

    /// Their records have more than all parts of a list together: 16 MiB each, as of a store.
    #[tokio::test]
    async fn a_thread_has_the_states_of_all_its_runs_however_large_the_values_are() {
        const RUNS: usize = 200;
        let graph = || Component::agent("r", async |_ctx, _input: Payload| Ok(1.into()));
        let [a, b] = two_with(&Catalog::new().with(graph()));
        let graph = Arc::new(graph());
        let (id, base) = (Uuid::now_v7(), Payload::json(&json!({ "x": "x".repeat(1 << 20) })));
        let base = base.unwrap();
        let any = a.all().start(Start::new(&graph, 1.into())).await.unwrap().run;
        let asked = Asked::elsewhere(&(&any).into(), "r");
        for _ in 0..RUNS {
            let start = asked.write(Start::new(&graph, 1.into()), &1.into());
            let start = start.label(SESSION, id.to_string());
            let start = start.annotation("langgraph.base", base.clone());
            let run = a.all().start(start).await.unwrap().run;
            run.quiescent().await;
            run.stored().await.unwrap();
        }
        let view = b.all();
        let thread = b.thread_anywhere(&view, id).await.unwrap().unwrap();
        let known = b.known_states(&view, &thread).await.unwrap();
        let steps = known.iter().map(|known| known.parts.metadata.parse::<Value>().unwrap());
        let steps: Vec<_> = steps.map(|metadata| metadata["step"].as_u64().unwrap()).collect();
        assert_eq!(steps, (0..RUNS as u64).rev().collect::<Vec<_>>());
        let last = b.state(&view, &thread, None).await.unwrap().unwrap();
        assert!(last.1.is_some_and(|values| bytes_of(&values) > 1 << 20), "it has its values");
        let runs = b.stored_of(&view, id, RUNS + 1, |_| true).await.unwrap();
        assert_eq!(runs.len(), RUNS, "runs of a list");
    }
}
