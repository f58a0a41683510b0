//! [`Begin`]: on which values a run starts, and at which nodes (contract, section 5).

use std::future::{Ready, ready};
use std::sync::Arc;

use axum::http::StatusCode;
use quell::{Failure, Payload, RunContext, RunId, RunRef, limits};
use quell_flow::{Component, Emit, NodesAsked};
use quell_http::{SESSION, Start, View};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::app::App;
use crate::app::checks::check_goto;
use crate::threads::{Ground, Thread};
use crate::values::{START, Values, bytes_of, fitting_input, merged_input};
use crate::wire::asked::{Asked, NOBODY, has_whole_input, write_base, write_behind};
use crate::wire::create::Create;
use crate::wire::exact::{Keys, null, written};
use crate::wire::refusal::{Refusal, quoted};

/// Where a run begins.
pub(super) struct Begin {
    /// The state on which it starts, if that is not the last one.
    pub(super) fork: Option<Uuid>,
    /// On what it starts. None if runs before it have yet to leave that.
    known: Option<Ground>,
    /// Another node may make a run in its thread before this one is there: what it starts on is
    /// certain when it does.
    is_shared: bool,
    /// It is one of a fork, and others may overtake it, or another node makes one before it is
    /// there.
    pub(super) is_overtaken: bool,
    /// It starts at once, as far as its thread is concerned.
    is_first: bool,
}

/// What a run without new input does.
#[derive(Clone)]
enum Going {
    /// Its graph runs on this input.
    On(Payload, NodesAsked),
    /// Nothing comes next.
    Over,
    Fails(&'static str),
}

impl Begin {
    /// Yields the values on which the run starts, if that is known.
    pub(super) fn base(&self) -> Option<&Arc<Values>> {
        self.known.as_ref().and_then(|known| known.values.as_ref())
    }

    /// Has a run keep on what it starts if that is known, and what comes next there if it needs
    /// that. Where nothing is kept of runs, only those of a fork do.
    pub(super) fn kept_by(&self, start: Start, is_kept: bool, needs_next: bool) -> Start {
        let known = self.known.as_ref().filter(|_| is_kept || self.fork.is_some());
        let Some(known) = known else {
            return if is_kept { write_behind(start) } else { start };
        };
        let last = known.last.map_or(NOBODY, |last| (last.at(), last.run()));
        let is_shared = self.is_shared && self.fork.is_none();
        let start = if is_shared { write_behind(start) } else { start };
        let last = is_shared.then_some(last);
        let next = needs_next.then_some(&*known.next);
        write_base(start, (known.values.as_deref(), next), last)
    }

    /// Yields on what the run starts, if that is certain.
    pub(super) fn certain(&self) -> Option<&Ground> {
        self.known.as_ref().filter(|_| !self.is_shared)
    }
}

impl App {
    /// Finds where a run begins that is about to be made. Of one that starts before the first node
    /// of another one the input is that one's.
    ///
    /// # Errors
    ///
    /// Fails if there is no such state, and if the store cannot be read.
    pub(super) async fn begin(
        &self,
        view: &View,
        thread: &Arc<Thread>,
        create: &mut Create,
        (is_first, is_shared): (bool, bool),
    ) -> Result<Begin, Refusal> {
        let Some(fork) = create.nodes.checkpoint else {
            let known = is_first.then(|| thread.ground(self.engine()));
            return Ok(Begin { fork: None, known, is_shared, is_overtaken: false, is_first });
        };
        // On the heap: hardly any run needs it.
        let found = Box::pin(self.state(view, thread, Some(fork))).await?;
        let (parts, values) = found.ok_or_else(|| Refusal::no_checkpoint(thread.id, fork))?;
        let is_again = create.nodes.goes_on && create.input.is_null();
        if let Some(input) = parts.input.filter(|_| is_again) {
            (create.input, create.nodes.goes_on) = (input, false);
        }
        // As whoever reads the run has them.
        let values = values.filter(|values| !values.is_empty());
        if values.as_deref().map_or(0, bytes_of) > limits::PAYLOAD_BYTES_MAX {
            // Its thread would have them, too.
            let why = format!("Checkpoint {fork} has values that are too large to start on");
            return Err(Refusal::invalid(why));
        }
        let known = Some(Ground { values, next: parts.next, last: None });
        let is_overtaken = !is_first || self.is_node();
        Ok(Begin { fork: Some(fork), known, is_shared: false, is_overtaken, is_first })
    }

    /// Yields what a run executes, its input, and what is asked of its nodes.
    ///
    /// # Errors
    ///
    /// Fails if a node is named that the graph does not have.
    pub(super) fn work(
        &self,
        graph: &Arc<Component>,
        thread: &Arc<Thread>,
        create: &Create,
        begin: &Begin,
        run: RunId,
    ) -> Result<(Arc<Component>, Payload, NodesAsked), Refusal> {
        let (names, wanted) = (graph.nodes_of(), &create.nodes);
        self.put_behind_last(thread, run);
        if create.is_update {
            let known = (begin.certain().cloned(), create.nodes.behind.clone());
            let changed = self.changing(graph, thread, known);
            return Ok((changed, create.input.clone(), NodesAsked::default()));
        }
        check_goto(graph, &wanted.goto)?;
        let asked = if names.is_empty() { NodesAsked::default() } else { asked_of(create) };
        if !wanted.goes_on {
            let input = fitting_input(graph.reducers(), begin.base(), &create.input, run);
            let given = || (create.input.clone(), run);
            let late = begin.certain().is_none().then(|| self.late(graph, thread, given(), &asked));
            return Ok((late.unwrap_or_else(|| Arc::clone(graph)), input, asked));
        }
        let Some(Ground { values: base, next, .. }) = begin.certain() else {
            let asking = (create.clone(), run);
            return Ok((self.going_on(graph, thread, asking), create.input.clone(), asked));
        };
        let (says, is_first) = (says(graph, create), begin.is_first);
        Ok(match going(graph, base.as_deref(), next, create, run) {
            Going::On(input, asked) => (Arc::clone(graph), input, asked),
            Going::Over => (over(graph, says, is_first), null(), asked),
            Going::Fails(why) => (standing_in(graph, move |_| failed(why)), null(), asked),
        })
    }

    /// Makes the stand-in of a graph that changes values and runs nothing. What comes next is what
    /// came next before, or what comes behind the node that is said to have made the change.
    fn changing(
        &self,
        graph: &Arc<Component>,
        thread: &Arc<Thread>,
        (certain, behind): (Option<Ground>, Option<Vec<String>>),
    ) -> Arc<Component> {
        let has_nodes = !graph.nodes_of().is_empty();
        let all = (self.clone(), Arc::clone(thread), certain, behind);
        doing_nothing(graph, true, move |ctx| {
            let (app, thread, certain, behind) = all.clone();
            async move {
                let ground = match certain {
                    Some(ground) => ground,
                    None => app.left_to(&thread, &ctx).await?,
                };
                if has_nodes {
                    let next = behind.unwrap_or(ground.next);
                    Emit::Step { values: None, next }.send(&ctx);
                }
                Ok(null())
            }
        })
    }

    /// Makes the stand-in of a graph for a run that waits behind others: what its body gets is made
    /// when it starts, of what they have left, and stays the same in later attempts. A plan gets
    /// the input of the request alone.
    fn late(
        &self,
        graph: &Arc<Component>,
        thread: &Arc<Thread>,
        (given, id): (Payload, RunId),
        asked: &NodesAsked,
    ) -> Arc<Component> {
        if graph.is_plan() {
            let all = (self.clone(), Arc::clone(thread));
            return Arc::new(graph.beginning_with(move |ctx| {
                let (app, thread) = all.clone();
                async move { app.left_to(&thread, &ctx).await.map(drop) }
            }));
        }
        let all = (self.clone(), Arc::clone(graph), Arc::clone(thread), given, asked.clone());
        let once = Arc::new(OnceCell::new());
        standing_in(graph, move |ctx: RunContext| {
            let ((app, graph, thread, given, asked), once) = (all.clone(), Arc::clone(&once));
            async move {
                let make = async || {
                    let base = app.left_to(&thread, &ctx).await?.values;
                    Ok::<_, Failure>(fitting_input(graph.reducers(), base.as_ref(), &given, id))
                };
                let input = once.get_or_try_init(make).await?.clone();
                graph.go_on(ctx, input, asked).await
            }
        })
    }

    /// Yields the stand-in of a graph for a run that another process has left, and that starts here
    /// or goes on: what [`App::work`] made for it there. None if its graph runs on the input that
    /// the run has.
    pub(super) fn work_left(&self, run: &RunRef, graph: &Arc<Component>) -> Option<Arc<Component>> {
        let asked = Asked::of(&run.into())?;
        let is_whole = asked.is_temporary
            || asked.fork.is_some()
            || !self.is_node() && has_whole_input(&run.into());
        let is_on_input = !asked.goes_on && !asked.is_update;
        if is_whole && is_on_input {
            let thread = asked.fork.and_then(|_| self.thread_left(run))?;
            return Some(self.in_turn(graph, &thread));
        }
        // Whatever has become of its thread: one that is to do something else runs no graph.
        let fails = || standing_in(graph, |_| failed("RuntimeError: Its thread is not there"));
        let Some(thread) = self.thread_left(run) else { return (!is_on_input).then(fails) };
        if asked.is_update {
            return Some(self.changing(graph, &thread, (None, asked.behind)));
        }
        if is_on_input {
            return Some(self.late(graph, &thread, (asked.input, run.id()), &asked.nodes));
        }
        let body = asked.kwargs.parse::<Keys>().ok().map(|mut body| {
            body.insert("assistant_id".to_owned(), graph.id().into());
            body
        });
        let Some(create) = body.and_then(|body| Create::read(&body).ok()) else {
            return Some(fails());
        };
        let mut create = Create { input: asked.input, ..create };
        create.nodes.checkpoint = asked.fork;
        Some(self.going_on(graph, &thread, (create, run.id())))
    }

    /// Finds the thread of a run that another process has left.
    fn thread_left(&self, run: &RunRef) -> Option<Arc<Thread>> {
        let session = Uuid::try_parse(run.label(SESSION)?).ok()?;
        // What follows runs is no work for the runtime of the bodies.
        let _there = self.runtime()?.enter();
        self.take_in();
        let thread = self.threads().get(session)?;
        thread.find(run.id()).map(|_| thread)
    }

    /// Makes the stand-in of a graph for a run without new input that waits behind others: it looks
    /// at the thread when it starts, and then runs the graph from there, in later attempts as well.
    fn going_on(
        &self,
        graph: &Arc<Component>,
        thread: &Arc<Thread>,
        (create, id): (Create, RunId),
    ) -> Arc<Component> {
        let all = (self.clone(), Arc::clone(graph), Arc::clone(thread), create);
        let once = Arc::new(OnceCell::new());
        standing_in(graph, move |ctx: RunContext| {
            let ((app, graph, thread, create), once) = (all.clone(), Arc::clone(&once));
            async move {
                let look = async || {
                    let Ground { values, next, .. } = app.left_to(&thread, &ctx).await?;
                    Ok::<_, Failure>(going(&graph, values.as_deref(), &next, &create, id))
                };
                match once.get_or_try_init(look).await?.clone() {
                    Going::On(input, asked) => graph.go_on(ctx, input, asked).await,
                    Going::Over => {
                        say_over(&ctx, says(&graph, &create));
                        Ok(null())
                    }
                    Going::Fails(why) => failed(why).await,
                }
            }
        })
    }
}

/// Yields what comes behind a node of a graph that is said to have changed the values; none if none
/// is named, or the graph has none.
///
/// # Errors
///
/// Fails if there is no such node.
pub(super) fn behind(
    graph: &Component,
    node: Option<&str>,
) -> Result<Option<Vec<String>>, Refusal> {
    let names = graph.nodes_of();
    Ok(match node.filter(|_| !names.is_empty()) {
        None => None,
        Some("__end__") => Some(Vec::new()),
        Some(START) => Some(names[..1].to_vec()),
        Some(node) => {
            let Some(behind) = graph.behind(node) else {
                let text = format!("Node {} does not exist", quoted(node));
                return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
            };
            Some(behind.map(str::to_owned).into_iter().collect())
        }
    })
}

fn asked_of(create: &Create) -> NodesAsked {
    NodesAsked {
        next: Vec::new(),
        interrupt_before: create.nodes.interrupt_before.clone(),
        interrupt_after: create.nodes.interrupt_after.clone(),
    }
}

/// Says what a run without new input does on these values, where this comes next.
fn going(
    graph: &Component,
    base: Option<&Values>,
    next: &[String],
    create: &Create,
    run: RunId,
) -> Going {
    // Nodes may have left nothing yet, and be to come all the same.
    let is_named = create.nodes.checkpoint.is_some() || !create.nodes.goto.is_empty();
    if base.is_none() && next.is_empty() && !is_named {
        return Going::Fails("EmptyInputError: Received no input for __start__");
    }
    let mut asked = NodesAsked { next: create.nodes.goto.clone(), ..asked_of(create) };
    asked.next.extend(next.iter().filter(|name| !create.nodes.goto.contains(name)).cloned());
    if asked.next.is_empty() || graph.nodes_of().is_empty() && next.is_empty() {
        return Going::Over;
    }
    if graph.nodes_of().is_empty() {
        return Going::Fails("RuntimeError: No checkpoint is kept to go on from");
    }
    // Before the first nodes the values have the input already.
    asked.next.retain(|name| name != START);
    let own = if create.input.is_null() { written(&Keys::new()) } else { create.input.clone() };
    let input = merged_input(graph.reducers(), base, &own, run);
    if input.len() > limits::PAYLOAD_BYTES_MAX {
        return Going::Fails("RuntimeError: The values are too large to go on from");
    }
    Going::On(input, asked)
}

/// Tells whether a run that executes nothing leaves a state all the same.
fn says(graph: &Component, create: &Create) -> bool {
    let is_fork = create.nodes.checkpoint.is_some();
    !graph.nodes_of().is_empty() && (is_fork || !create.input.is_null())
}

fn over(graph: &Component, says: bool, is_first: bool) -> Arc<Component> {
    doing_nothing(graph, is_first, move |ctx| async move {
        say_over(&ctx, says);
        Ok(null())
    })
}

fn say_over(ctx: &RunContext, says: bool) {
    if says {
        Emit::Step { values: None, next: Vec::new() }.send(ctx);
    }
}

fn failed(why: &str) -> Ready<Result<Payload, Failure>> {
    ready(Err(Failure::new(why.to_owned())))
}

/// Makes the stand-in of a graph, with the bounds that it has.
fn standing_in<F>(
    graph: &Component,
    work: impl Fn(RunContext) -> F + Send + Sync + 'static,
) -> Arc<Component>
where
    F: Future<Output = Result<Payload, Failure>> + Send + 'static,
{
    Arc::new(graph.with_body(move |ctx, _own| work(ctx)))
}

/// As [`standing_in`], for a run that executes nothing: if it starts `at_once`, it waits for no
/// place among those that execute. Others count among those that wait.
fn doing_nothing<F>(
    graph: &Component,
    at_once: bool,
    work: impl Fn(RunContext) -> F + Send + Sync + 'static,
) -> Arc<Component>
where
    F: Future<Output = Result<Payload, Failure>> + Send + 'static,
{
    let own = graph.with_body(move |ctx, _own| work(ctx));
    Arc::new(if at_once { own.unlimited() } else { own })
}
