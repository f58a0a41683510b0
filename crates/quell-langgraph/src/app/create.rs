//! [`CreateRequest`]: makes a run. It chooses the thread, the input, and what becomes of the runs
//! that are live there.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use quell::{IdempotencyKey, OnBusy, RunId, RunRef};
use quell_flow::{Component, NodesAsked};
use quell_http::{DisconnectGuard, OnDisconnect, RunView, SESSION, Start, View};
use serde_json::json;
use tokio::time::sleep;
use uuid::Uuid;

use crate::app::App;
use crate::app::app::to_the_end;
use crate::app::base::LATE;
use crate::app::begin::behind;
use crate::app::brief::{AT_END, DELETED};
use crate::app::change::written_bytes;
use crate::app::checks::check_asked;
use crate::app::find::Found;
use crate::app::making::{Adding, Fresh};
use crate::app::once::once;
use crate::app::record::is_recent;
use crate::app::stored::StoredRun;
use crate::options::CONTRACT;
use crate::threads::{Full, Thread, Tracked, Within};
use crate::wire::asked::{Asked, micros};
use crate::wire::create::{Create, Strategy};
use crate::wire::exact::{Keys, null, written};
use crate::wire::refusal::Refusal;
use crate::wire::rows::{run_metadata, system_assistant};

/// A request to make a run, read.
#[derive(Debug)]
pub(crate) struct CreateRequest<'a> {
    /// The thread; none for a stateless run.
    pub(crate) thread: Option<Uuid>,
    pub(crate) create: Create,
    /// What an idempotency key stands for: the path and the body.
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) headers: &'a HeaderMap,
    /// Which one it is of several that came at once: each has a key of its own.
    pub(crate) nth: Option<usize>,
}

/// A run that was made, or found by its idempotency key.
#[derive(Clone, Debug)]
pub(crate) enum Created {
    /// It was made now.
    Here(Found),
    /// The same request made it before, and it is in memory.
    Again(Found),
    /// The same request made it before, and it is only in the store: perhaps another node has it.
    There(StoredRun),
}

impl Created {
    pub(crate) fn run(&self) -> RunView {
        match self {
            Self::Here(found) | Self::Again(found) => (&found.run).into(),
            Self::There(found) => found.run.clone(),
        }
    }

    pub(crate) fn tracked(&self) -> &Arc<Tracked> {
        match self {
            Self::Here(found) | Self::Again(found) => &found.tracked,
            Self::There(found) => &found.tracked,
        }
    }
}

/// How often the thread of a run may be made and leave again, before there is none, and the rest
/// between two tries.
const TRIES: (usize, Duration) = (8, Duration::from_millis(5));

impl App {
    /// Makes a run, or finds the one that the same request made before. Nobody follows it.
    pub(crate) async fn create(
        &self,
        view: &View,
        mut request: CreateRequest<'_>,
    ) -> Result<Created, Refusal> {
        request.create.on_disconnect = OnDisconnect::Continue;
        Ok(self.create_followed(view, request).await?.0)
    }

    /// As [`App::create`], for a client that follows the run: the guard counts it among those.
    pub(crate) async fn create_followed(
        &self,
        view: &View,
        mut request: CreateRequest<'_>,
    ) -> Result<(Created, DisconnectGuard), Refusal> {
        if request.create.resume.is_some() && request.thread.is_none() {
            let text = "You must provide a thread_id when resuming.";
            return Err(Refusal::new(axum::http::StatusCode::BAD_REQUEST, text));
        }
        let (graph, assistant) = self.graph_of_run(view, &request.create.assistant).await?;
        if let Some((id, assistant)) = assistant {
            assistant.now().under(&mut request.create)?;
            request.create.own_assistant = Some(id);
        }
        check_asked(&graph, &request.create).await?;
        loop {
            let (thread, mut fresh) = self.thread_for(view, &request).await?;
            // The thread may leave the table while this request waits for it. Then look again:
            // there is another one by now, or none.
            let Some(created) = self.create_in(view, &request, &graph, &thread).await? else {
                continue;
            };
            let used = created.0.tracked().about.thread;
            if let Some(fresh) = fresh.as_mut().filter(|_| used == thread.id) {
                fresh.is_used = true;
            }
            return Ok(created);
        }
    }

    /// Yields the thread of a run, which may be made for it.
    async fn thread_for(
        &self,
        view: &View,
        request: &CreateRequest<'_>,
    ) -> Result<(Arc<Thread>, Option<Fresh>), Refusal> {
        for _ in 0..TRIES.0 {
            if let Some(id) = request.thread
                && let Some(known) = self.known_thread(view, id).await?
            {
                self.threads().touch(&known);
                if !request.create.makes_thread {
                    return Ok((known, None));
                }
                // It may have been made for another run, which is refused.
                let fresh = Fresh::found(self, &known);
                if !known.has_left() {
                    return Ok((known, fresh));
                }
            }
            if request.thread.is_some() && !request.create.makes_thread {
                break;
            }
            if let Some(fresh) = self.make_for_run(view, request).await? {
                return Ok((Arc::clone(&fresh.thread), Some(fresh)));
            }
            // Another request made it just now, and may take it away again; or it is another
            // owner's, which is answered as one that is not there.
            sleep(TRIES.1).await;
        }
        Err(Refusal::missing("Thread or assistant not found."))
    }

    /// Makes the thread of a run; none if there is one of its id.
    async fn make_for_run(
        &self,
        view: &View,
        request: &CreateRequest<'_>,
    ) -> Result<Option<Fresh>, Refusal> {
        let is_temporary = request.thread.is_none() && !request.create.keeps_thread;
        let id = request.thread.unwrap_or_else(Uuid::now_v7);
        // That of the run that it is made for.
        let metadata = request.create.metadata.clone();
        let metadata = if is_temporary { Keys::new() } else { metadata };
        let thread = Thread::new(id, view.principal().subject(), &metadata, is_temporary);
        if is_temporary {
            // An id that the caller has not chosen nobody else has.
            let made = self.threads().add(self.engine(), thread);
            let made = made.map_err(|Full| Refusal::too_many())?.ok();
            return Ok(made.map(|made| Fresh::new(self, made)));
        }
        let charge = self.charge(view.principal().owner(), written_bytes(&metadata))?;
        let (app, is_named) = (self.clone(), request.thread.is_some());
        let thread = thread.charged(charge);
        // A caller that goes away while the store is waited for leaves what is dropped then.
        to_the_end(async move {
            let made = app.make_thread(thread, is_named).await?;
            Ok(made.map(|made| Fresh::new(&app, made)))
        })
        .await
    }

    /// Makes a run in a thread; none if the thread has left the table meanwhile. Its client is
    /// counted before the next one has its turn: whose turn comes finds all who came before.
    async fn create_in(
        &self,
        view: &View,
        request: &CreateRequest<'_>,
        graph: &Arc<Component>,
        thread: &Arc<Thread>,
    ) -> Result<Option<(Created, DisconnectGuard)>, Refusal> {
        let once = once(request.headers, (request.path, request.body), request.nth)?;
        let owner = self.owner_view(view, thread);
        let policy = request.create.on_disconnect;
        let _follows = self.follows_already(&owner, once.as_ref(), policy);
        let _one_at_a_time = thread.creating.lock().await;
        let in_turn = self.create_in_turn((view, &owner, once), request, graph, thread);
        let Some(created) = in_turn.await? else {
            return Ok(None);
        };
        let guard = self.service().guard(created.run(), policy).until_pause();
        Ok(Some((created, guard)))
    }

    async fn create_in_turn(
        &self,
        (view, owner, once): (&View, &View, Option<IdempotencyKey>),
        request: &CreateRequest<'_>,
        graph: &Arc<Component>,
        thread: &Arc<Thread>,
    ) -> Result<Option<Created>, Refusal> {
        let mut create = request.create.clone();
        let is_kept = self.has_records() && !thread.is_temporary;
        let is_shared = is_kept && self.is_node() && create.nodes.checkpoint.is_none();
        // Without one in the request the thread was made for it: the run of a repeat is in another.
        let within = request.thread.is_some().then_some(thread);
        let of = (view, owner, within);
        if let Some(once) = &once
            && let Some(known) = owner.repeated(&Start::new(graph, null()).once(once.clone())).await
        {
            // Whatever has become of the thread since: nothing else is asked of it.
            let known = known.map(|started| started.run.id());
            return self.made_before(of, Some(once), known).await.map(Some);
        }
        if self.is_read_again(thread) {
            // On the heap: alone nobody pays for its size.
            Box::pin(self.look_elsewhere(view, thread)).await?;
        }
        let live = thread.live(self.engine()).len();
        let is_idle = live == 0 && !thread.is_live_elsewhere();
        // What starts later starts on what others leave until then, which do not wait for it.
        let is_first = is_idle && create.after.is_zero();
        let takes_over = self.takes_over(&create, thread, live)?;
        let begin = self.begin(view, thread, &mut create, (is_first, is_shared)).await?;
        create.nodes.behind = behind(graph, create.nodes.as_node.as_deref())?;
        let create = &create;
        let id = RunId::from_uuid(Uuid::now_v7());
        let (work, input, nodes) = self.work(graph, thread, create, &begin, id)?;
        let work = if begin.is_overtaken { self.in_turn(&work, thread) } else { work };
        let asked = Asked { fork: begin.fork, nodes, ..self.asked(create, graph, thread) };
        let tracked = Tracked::new(id, graph.id(), self.within(thread.id, Some(graph)), &asked);
        // Others may make runs in the thread until it starts, or delete what they have left there.
        let is_behind = is_kept && begin.certain().is_none();
        let tracked = if is_behind { tracked.behind_others() } else { tracked };
        // A young thread may be that of a refused request, which leaves.
        let is_young = is_recent(thread.record_at(), self.engine().time());
        let is_held = is_shared && (create.makes_thread || is_young);
        let tracked = Arc::new(if is_held { tracked.held_until_made() } else { tracked });
        if let Some(ground) = begin.certain() {
            tracked.begins_on(ground.clone());
        }
        let start = asked.write(Start::new(&work, input.clone()), &input);
        let start = begin.kept_by(start, is_kept, tracked.needs_next());
        let start = self.start(create, thread, &tracked, start, takes_over);
        let start = once.iter().fold(start, |start, once| start.once(once.clone()));
        let _owing = self.owe(owner, create, &tracked)?;
        if !thread.add(&tracked) {
            return Ok(None);
        }
        let (on_disconnect, may_repeat) = (create.on_disconnect, once.is_some());
        let _adding = Adding { app: self, thread, tracked: &tracked, on_disconnect, may_repeat };
        let run = match owner.start(start).await {
            Ok(started) if !started.is_replay => started.run,
            told => {
                let known = told.map(|started| started.run.id());
                return self.made_before(of, once.as_ref(), known).await.map(Some);
            }
        };
        let stays = self.check_made(thread, &run, create.makes_thread).await?;
        Ok(stays.then(|| self.made_here(thread, &tracked, run)))
    }

    fn made_here(&self, thread: &Arc<Thread>, tracked: &Arc<Tracked>, run: RunRef) -> Created {
        let (thread, tracked) = (Arc::clone(thread), Arc::clone(tracked));
        self.follow(Arc::clone(&thread), Arc::clone(&tracked), run.clone());
        Created::Here(Found { run, tracked, thread: Some(thread) })
    }

    /// Tells whether a run takes the place of one that waits for an answer: that of new input does.
    ///
    /// # Errors
    ///
    /// Fails if it has no input: then it would have to go on where that one waits.
    fn takes_over(&self, create: &Create, thread: &Thread, live: usize) -> Result<bool, Refusal> {
        let takes_over = !create.is_update && self.waits_alone(thread, live);
        if takes_over && create.input.is_null() { Err(Refusal::waits()) } else { Ok(takes_over) }
    }

    /// Tells whether the one run of a thread that is live, here or elsewhere, waits for an answer.
    fn waits_alone(&self, thread: &Thread, live_here: usize) -> bool {
        match live_here {
            0 => thread.waits_elsewhere(),
            1 => thread.paused(self.engine()).is_some() && !thread.is_live_elsewhere(),
            _ => false,
        }
    }

    /// Yields the view of the owner of a thread. Runs belong to the owner of their thread, also if
    /// an admin starts them: a lane is one owner's.
    pub(super) fn owner_view(&self, view: &View, thread: &Thread) -> View {
        if view.principal().subject() == thread.owner.as_deref() {
            return view.clone();
        }
        let owner = view.principal().clone().in_the_name_of(thread.owner.as_deref());
        self.service().view(CONTRACT, owner)
    }

    /// Yields what the run keeps of a request.
    fn asked(&self, create: &Create, graph: &Component, thread: &Thread) -> Asked {
        let own = create.own_assistant;
        let assistant = own.unwrap_or_else(|| system_assistant(graph.id()));
        let mut kwargs = create.kwargs.clone();
        kwargs.insert("temporary".into(), json!(thread.is_temporary).into());
        let due = (!create.after.is_zero()).then(|| SystemTime::now() + create.after);
        Asked {
            metadata: run_metadata(thread.metadata_under(&create.metadata), graph.id(), assistant),
            own_assistant: own,
            input: create.input.clone(),
            kwargs: written(&kwargs),
            strategy: create.strategy,
            modes: create.modes,
            has_subgraphs: create.has_subgraphs,
            is_resumable: create.is_resumable,
            is_temporary: thread.is_temporary,
            is_update: create.is_update,
            has_webhook: create.webhook.is_some(),
            goes_on: create.nodes.goes_on,
            fork: None,
            nodes: NodesAsked::default(),
            behind: create.nodes.behind.clone(),
            limit_ms: self.timeout(create).and_then(|time| time.as_millis().try_into().ok()),
            due_us: due.and_then(micros),
            record_us: thread.record(),
        }
    }

    /// Yields where a run of a graph is.
    pub(super) fn within(&self, thread: Uuid, graph: Option<&Arc<Component>>) -> Within {
        let reducers = graph.map(|graph| graph.reducers().clone()).unwrap_or_default();
        let is_unmasked = self.options().unmasked_errors;
        let has_nodes = graph.is_some_and(|graph| !graph.nodes_of().is_empty());
        Within { thread, reducers, has_nodes, service: Some(self.service().clone()), is_unmasked }
    }

    /// Yields the caller's time limit, which never exceeds the server's (contract, choice 8).
    fn timeout(&self, create: &Create) -> Option<Duration> {
        create.timeout.map(|time| time.min(self.options().timeout_max.unwrap_or(Duration::MAX)))
    }

    fn start(
        &self,
        create: &Create,
        thread: &Thread,
        tracked: &Tracked,
        start: Start,
        takes_over: bool,
    ) -> Start {
        let on_busy = match create.strategy {
            Strategy::Rollback => OnBusy::RollbackExisting,
            // As upstream: new input gives up what a paused run asks.
            _ if takes_over => OnBusy::CancelExisting,
            Strategy::Reject => OnBusy::Reject,
            Strategy::Enqueue => OnBusy::Enqueue,
            Strategy::Interrupt => OnBusy::CancelExisting,
        };
        let mut start = start
            .id(tracked.id.to_string())
            .label(SESSION, thread.id.to_string())
            .lane(thread.id.to_string(), on_busy);
        if let Some(timeout) = self.timeout(create) {
            start = start.timeout(timeout);
        }
        if let Some(grace) = create.grace {
            start = start.grace(grace.min(self.options().grace_max));
        }
        if thread.is_temporary && self.has_records() {
            start = start.label(AT_END, DELETED);
        }
        if create.after.is_zero() {
            return start;
        }
        start.label(LATE, thread.id.to_string()).after(create.after)
    }
}
