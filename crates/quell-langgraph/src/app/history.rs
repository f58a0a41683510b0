//! [`App::history`]: the states that the runs of a thread have left (contract, section 4).
//!
//! Each run that has ended, or asks something, has left one: its values, behind the one before its
//! input; a run of a graph with nodes one after each of its steps, also while it is live. One that
//! was rolled back or deleted has left none, and neither has one that the engine and the store have
//! forgotten, but for the last one, whose values are those of the thread.

use std::sync::Arc;
use std::time::SystemTime;

use quell::RunStatus;
use quell_http::{RunView, View};
use serde_json::json;
use tokio::task::yield_now;
use uuid::{Builder, Uuid};

use crate::app::App;
use crate::app::elsewhere::of_thread;
use crate::app::left::{From, Known, bare, before_of, has_nodes, place_of, seq_in};
use crate::app::states::Which;
use crate::app::stored::is_taken_back;
use crate::threads::{Mark, Thread};
use crate::values::{Values, bytes_of};
use crate::wire::asked::{INPUTS, row_in_thread};
use crate::wire::exact::Keys;
use crate::wire::refusal::Refusal;
use crate::wire::state::StateParts;

/// A state of a thread, and its values.
pub(crate) type State = (StateParts, Option<Arc<Values>>);

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

    /// Tells whether something comes next at a state that is the last of its run: it was held or
    /// cut there, and nothing of it went on from there.
    ///
    /// # Errors
    ///
    /// As [`App::history`].
    pub(super) async fn is_held_at(
        &self,
        view: &View,
        thread: &Arc<Thread>,
        id: Uuid,
    ) -> Result<bool, Refusal> {
        let known = self.known_states(view, thread).await?;
        let Some((nth, _)) = place_of(&known, id) else { return Ok(false) };
        let last = self.states_in(view, thread, &known[nth], Which::all()).await?;
        let last = last.as_ref().and_then(|states| states.first());
        Ok(last.is_some_and(|(parts, _)| parts.id == id && !parts.next.is_empty()))
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
        let mut compared = 0;
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
                if is_wanted && wanted.is_search {
                    compared += parts.metadata.bytes();
                    if compared > COMPARED_BYTES_MAX {
                        return Err(Refusal::invalid("metadata: too much to compare"));
                    }
                    yield_now().await;
                }
                if is_wanted && (!wanted.is_search || is_meant(&parts.metadata.keys())) {
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
            let is_over = row.started_at.is_some() && has_left;
            is_over && !run.is_rolled_back() && !is_taken_back(run)
        };
        let shown = |run: &RunView| left(run) && !self.hidden().has(run.meant());
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
            known.push(bare(thread, base_id(thread), None, From::Base));
        }
        let with_start = |mut known: Known| {
            let start = known.take_start();
            std::iter::once(known).chain(start)
        };
        let mut known: Vec<_> = known.into_iter().flat_map(with_start).collect();
        let has_start = known.last().is_some_and(|known| matches!(known.from, From::Start(_)));
        let numbers = -i64::from(has_start)..;
        for (known, number) in known.iter_mut().rev().zip(numbers) {
            known.parts.metadata.set("step", json!(number));
        }
        Ok(known)
    }
}

/// Yields the id of the values with which a thread was made: it is of that time, so that it is
/// below those that runs have left since.
fn base_id(thread: &Thread) -> Uuid {
    let since = thread.record_at().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let of_thread = Uuid::new_v5(&thread.id, b"base");
    let rest = of_thread.as_bytes().first_chunk().copied().unwrap_or_default();
    let at_ms = u64::try_from(since.as_millis()).unwrap_or_default();
    Builder::from_unix_timestamp_millis(at_ms, &rest).into_uuid()
}

/// Runs of one part of the list, and the parts that are read.
const PART: usize = 100;
const PARTS_MAX: usize = 10;

/// Bytes of the metadata of states that are looked at for those that are meant.
const COMPARED_BYTES_MAX: usize = 512 << 20;

/// Steps of one run that are read at once; fewer, if their values are too large to be held.
const STEPS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use quell::Payload;
    use quell_flow::{Catalog, Component};
    use quell_http::{SESSION, Start};

    use super::*;
    use crate::app::gone::tests::two_with;
    use crate::wire::asked::Asked;

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
        let steps = known.iter().rev().map(|known| known.parts.metadata.keys());
        let steps: Vec<i64> = steps.map(|it| it["step"].parse().unwrap()).collect();
        // Of each run the one before its input, too.
        assert_eq!(steps, (-1..).take(2 * RUNS).collect::<Vec<_>>());
        let last = b.state(&view, &thread, None).await.unwrap().unwrap();
        assert!(last.1.is_some_and(|values| bytes_of(&values) > 1 << 20), "it has its values");
        let runs = b.stored_of(&view, id, RUNS + 1, |_| true).await.unwrap();
        assert_eq!(runs.len(), RUNS, "runs of a list");
    }
}
