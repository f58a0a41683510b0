//! [`Start`]: how a caller starts a run of a component.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quell::{IdempotencyKey, OnBusy, Payload, RunId, RunRef, RunSpec, SubmitError};
use quell_flow::{COMPONENT, Component};

use crate::ids::{EXTERNAL_ID, SESSION, TEAM, external_id, parse_id};
use crate::limits::TIME_MAX;
use crate::owner_lane::lane_of;
use crate::reserve::scope_of;
use crate::service::{DisconnectGuard, OnDisconnect, View};
use crate::start_error::{StartError, run_of};

/// A run of a component, to be started by [`View::start`].
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use quell::Payload;
/// use quell_flow::Component;
/// use quell_http::Start;
///
/// let echo = Arc::new(Component::agent("echo", async |_ctx, input: Payload| Ok(input)));
/// let start = Start::new(&echo, Payload::from("hi")).id("run-1").session("s-1");
/// # let _ = start;
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing starts until it is given to a view"]
pub struct Start {
    pub(crate) component: Arc<Component>,
    pub(crate) input: Payload,
    pub(crate) id: Option<String>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) annotations: Vec<(String, Payload)>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) grace: Option<Duration>,
    pub(crate) lane: Option<(String, OnBusy)>,
    pub(crate) not_before: Option<Instant>,
    pub(crate) priority: i8,
    pub(crate) scopes: Vec<String>,
    pub(crate) once: Option<IdempotencyKey>,
    pub(crate) on_disconnect: OnDisconnect,
}

/// The run of a request, which this request or the same request before it has started.
#[derive(Debug)]
#[non_exhaustive]
pub struct Started {
    /// The run.
    pub run: RunRef,
    /// Whether an earlier request started it: one with the same idempotency key, or, with
    /// [`OnBusy::JoinExisting`], one for the same lane.
    pub is_replay: bool,
    /// Counts the client of the request among those of the run ([`Start::on_disconnect`]) until the
    /// end of the run or its next pause. A client that follows the run keeps it until its answer is
    /// over.
    pub guard: DisconnectGuard,
}

impl Start {
    /// Names the component and its input.
    pub fn new(component: &Arc<Component>, input: Payload) -> Self {
        Self {
            component: Arc::clone(component),
            input,
            id: None,
            labels: Vec::new(),
            annotations: Vec::new(),
            timeout: None,
            grace: None,
            lane: None,
            not_before: None,
            priority: 0,
            scopes: Vec::new(),
            once: None,
            on_disconnect: OnDisconnect::Continue,
        }
    }

    /// Sets another input, for a contract that makes it last.
    pub fn input(mut self, input: Payload) -> Self {
        self.input = input;
        self
    }

    /// Sets the id: any text that [`parse_id`](crate::parse_id) takes. Defaults to a new UUID. One
    /// that is in use is refused.
    pub fn id(mut self, text: impl Into<String>) -> Self {
        self.id = Some(text.into());
        self
    }

    /// Sets the session, thread or team. Defaults to none.
    pub fn session(self, text: impl Into<String>) -> Self {
        self.label(SESSION, text)
    }

    /// Adds a label. [`COMPONENT`](quell_flow::COMPONENT) and [`EXTERNAL_ID`](crate::EXTERNAL_ID)
    /// are ignored: the view sets them.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// Keeps with the run what a contract needs to show it again, by itself alone; see
    /// [`RunSpec::annotation`]. Unlike a label it is no text to find the run by.
    pub fn annotation(mut self, key: impl Into<String>, value: Payload) -> Self {
        self.annotations.push((key.into(), value));
        self
    }

    /// Sets the run's own deadline, counted from its start. Defaults to none. More than a year
    /// counts as a year, here and below.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout.min(TIME_MAX));
        self
    }

    /// Sets the time between the acceptance of a stop and abort. Defaults to the engine's.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace.min(TIME_MAX));
        self
    }

    /// Puts the run into a lane of its owner: runs of one lane never overlap. Defaults to none.
    ///
    /// [`OnBusy::JoinExisting`] yields the run that the lane has, if the principal sees it and may
    /// read it. [`OnBusy::CancelExisting`] and [`OnBusy::RollbackExisting`] take the place of the
    /// runs that the lane has, if the principal may stop all of them. Otherwise it is
    /// [`OnBusy::Reject`].
    pub fn lane(mut self, key: impl Into<String>, on_busy: OnBusy) -> Self {
        self.lane = Some((key.into(), on_busy));
        self
    }

    /// Sets its place among those that wait for the same; see [`RunSpec::priority`]. Defaults to 0.
    pub fn priority(mut self, priority: i8) -> Self {
        self.priority = priority;
        self
    }

    /// Delays the start. Defaults to no delay.
    pub fn after(mut self, delay: Duration) -> Self {
        self.not_before = Some(Instant::now() + delay.min(TIME_MAX));
        self
    }

    fn supersedes(&self) -> bool {
        matches!(self.lane, Some((_, OnBusy::CancelExisting | OnBusy::RollbackExisting)))
    }

    /// Uses a stop that was remembered in this scope too; see [`View::reserve`].
    pub fn reserved_in(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// Starts the run only once per idempotency key.
    pub fn once(mut self, once: IdempotencyKey) -> Self {
        self.once = Some(once);
        self
    }

    /// Sets what becomes of the run if its client leaves: while [`View::start`] waits, or as long
    /// as [`Started::guard`] is kept. Defaults to [`OnDisconnect::Continue`].
    pub const fn on_disconnect(mut self, policy: OnDisconnect) -> Self {
        self.on_disconnect = policy;
        self
    }

    /// Yields the scopes in which a stop may be remembered for it.
    fn scopes(&self) -> impl Iterator<Item = String> {
        let own = [String::new(), scope_of(&self.component)];
        own.into_iter().chain(self.scopes.iter().cloned())
    }
}

impl View {
    /// Starts a run of the principal, or finds the one that the same request started before. If
    /// that is only in the store, it is [`StartError::StartedBefore`].
    ///
    /// The principal must be allowed to run the component
    /// ([`Principal::may_run`](crate::Principal::may_run)), and the contract must expose it. An
    /// adapter may check this earlier, if its contract refuses in another order.
    ///
    /// # Errors
    ///
    /// Fails, and starts nothing, for every reason in [`StartError`].
    ///
    /// # Cancel safety
    ///
    /// It starts the run at its first poll, unless the policy of its lane is not
    /// [`OnBusy::Enqueue`]: then a store is asked first whether it has the id or the key, so that a
    /// repeat stops nobody; or one that has ended is kept here with its id or key, of several
    /// nodes: the store says whether another one has forgotten that. After the start it waits for
    /// the store, if there is one: for the run, and for the stops of those whose place it has
    /// taken. If the store gets into trouble between the two, these stop all the same, and the run
    /// is started. If the future is dropped, the client has left, and the policy decides
    /// ([`Start::on_disconnect`]): the run is cancelled, or it goes on if the store takes it.
    pub async fn start(&self, start: Start) -> Result<Started, StartError> {
        let component = &start.component;
        if !self.principal().may_run(component) || !self.exposes(component) {
            return Err(StartError::Forbidden);
        }
        let id = start.id.as_deref().map(parse_id).transpose();
        self.without_forgotten(&start, id.as_ref().ok().copied().flatten()).await;
        let started = if self.service().is_draining() {
            // A repeat is answered all the same.
            self.replay(&start).unwrap_or(Err(StartError::Unavailable))
        } else {
            let id = id?;
            if self.asks_store_first(&start, id) {
                Box::pin(self.not_in_store(&start, id)).await?;
            }
            let started = (0..TRIES).find_map(|_| self.try_start(&start, id));
            if started.is_none() && start.once.is_some() {
                // The run of the same request is taken in, perhaps: the store has it.
                Box::pin(self.not_in_store(&start, id)).await?;
            }
            started.unwrap_or(Err(StartError::LaneBusy { run: None }))
        };
        let (refused, run) = match started {
            // A repeat waits as well: it says of the run what the first request does.
            Ok(started) => match self.accepted(&started).await {
                Ok(()) => {
                    started.run.superseded_stored().await;
                    return Ok(started);
                }
                Err(error) => {
                    (Box::pin(self.refused_by_store(&error, &start)).await, run_of(&error))
                }
            },
            Err(error) => (error, None),
        };
        // On the heap: without a store nobody pays for its size.
        if matches!(refused, StartError::LaneBusy { .. }) && start.once.is_some() {
            // By the run of the same request, perhaps, that another node has stored just now.
            Box::pin(self.not_in_store(&start, None)).await?;
        }
        let run = run.or(id.ok().flatten());
        Err(Box::pin(self.or_before(&start, refused, run)).await)
    }

    /// Counts the client of a start among those of its run.
    pub(crate) fn started(&self, start: &Start, run: RunRef, is_replay: bool) -> Started {
        let guard = self.service().guard(&run, start.on_disconnect).until_pause();
        Started { run, is_replay, guard }
    }

    /// Starts a run. Yields none if its lane, or who has its key, has changed while this looked.
    fn try_start(&self, start: &Start, id: Option<RunId>) -> Option<Result<Started, StartError>> {
        let (service, mut spec) = (self.service(), self.spec(start, id));
        if let Some((key, OnBusy::CancelExisting | OnBusy::RollbackExisting)) = &start.lane {
            // In this order: a run that comes after the look makes the engine refuse the new one.
            spec = spec.lane_unchanged_since(service.engine().lane_mark());
            if !self.may_supersede(key) {
                let busy = self.busy(service.engine().lane(&self.lane_key(key)).last());
                return Some(self.replay(start).unwrap_or(Err(busy)));
            }
        }
        let handle = start.component.start(service.engine(), spec, start.input.clone());
        let run = match handle {
            Ok(handle) => handle.into_ref(),
            Err(SubmitError::LaneBusy { .. }) if start.supersedes() => return None,
            Err(SubmitError::LaneBusy { run, .. }) => {
                return Some(Err(self.busy(service.engine().get(run).as_ref())));
            }
            Err(SubmitError::LaneJoined(id)) => {
                // It may have ended, and be forgotten, by now.
                let run = service.engine().get(id)?;
                let may_join = self.may_join(&run);
                let refused = self.busy(Some(&run));
                return Some(may_join.then(|| self.started(start, run, true)).ok_or(refused));
            }
            Err(SubmitError::AlreadySubmitted(_) | SubmitError::KeyForgotten(_)) => {
                // Without an answer the store has refused that run just now, and the key is free.
                return self.replay(start);
            }
            Err(error) => return Some(Err(StartError::from_submit(&error, start.id.as_deref()))),
        };
        Some(Ok(self.started(start, run, false)))
    }

    /// Says that a lane is busy with a run, which is named to those who see it.
    fn busy(&self, run: Option<&RunRef>) -> StartError {
        let seen = run.filter(|run| self.sees(run));
        StartError::LaneBusy { run: seen.map(|run| external_id(run).into_owned()) }
    }

    /// Tells whether the principal may have a run instead of one of its own: it is shown to the
    /// principal with all that it says.
    fn may_join(&self, run: &RunRef) -> bool {
        let is_readable = self.component_of(run).is_none_or(|component| {
            self.principal().may_read(component) || self.principal().may_run(component)
        });
        is_readable && self.sees(run)
    }

    /// Tells whether the principal may stop all that a lane has.
    fn may_supersede(&self, key: &str) -> bool {
        let runs = self.service().engine().lane(&self.lane_key(key));
        runs.iter().all(|run| self.refusal(&run.into()).is_none())
    }

    /// Yields the engine's key of a lane. Lanes are per owner: the same key of another owner is
    /// another lane.
    fn lane_key(&self, key: &str) -> String {
        lane_of(self.principal().subject(), key)
    }

    /// Tells whether the principal has a name and is a member of a team.
    fn is_of_team(&self, team: &str) -> bool {
        self.principal().subject().is_some() && self.principal().is_member_of(team)
    }

    fn spec(&self, start: &Start, id: Option<RunId>) -> RunSpec {
        let mut spec = start.component.spec();
        for (key, value) in &start.labels {
            if key != COMPONENT && key != EXTERNAL_ID && key != TEAM {
                spec = spec.label(key, value);
            }
        }
        for (key, value) in &start.annotations {
            spec = spec.annotation(key, value.clone());
        }
        let session = start.labels.iter().rfind(|(key, _)| key == SESSION);
        if let Some((_, team)) = session.filter(|(_, team)| self.is_of_team(team)) {
            spec = spec.label(TEAM, team);
        }
        if let Some(id) = id {
            spec = spec.id(id);
        }
        if let (Some(id), Some(text)) = (id, &start.id)
            && id.to_string() != *text
        {
            spec = spec.label(EXTERNAL_ID, text);
        }
        if let Some(owner) = self.principal().owner() {
            spec = spec.owner(Arc::clone(owner));
        }
        if let Some(once) = &start.once {
            spec = spec.idempotency_key(once.clone());
        }
        for scope in start.scopes() {
            spec = spec.stop_scope(self.stop_scope(&scope));
        }
        spec = start.component.timed(spec, start.timeout, start.grace);
        if let Some((key, on_busy)) = &start.lane {
            spec = spec.lane(self.lane_key(key), *on_busy);
        }
        if start.priority != 0 {
            spec = spec.priority(start.priority);
        }
        match start.not_before {
            Some(due) => spec.not_before(due),
            None => spec,
        }
    }
}

/// How often a start looks at a lane that other starts change: after that it is busy.
const TRIES: u32 = 64;
