//! [`RunSpec`] is what an embedder says about a run before it starts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quell_core::limits;
use quell_core::{Budget, Payload, RunId, RunKind, StopDelivery};
use tokio_util::sync::CancellationToken;

use crate::failure::SubmitError;
use crate::gate::{Gate, Lane, LaneMark, OnBusy};
use crate::idempotency::IdempotencyKey;
use crate::metadata::{Metadata, within};
use crate::stop_scope::StopScope;

/// A run to be: its kind and name, and how long things may take.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell::RunSpec;
///
/// let spec = RunSpec::step("draw")
///     .timeout(Duration::from_secs(20))
///     .grace(Duration::from_secs(2))
///     .label("customer", "ada")
///     .priority(10);
/// assert_eq!(spec.name(), "draw");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a spec does nothing until it is submitted"]
pub struct RunSpec {
    pub(crate) kind: RunKind,
    pub(crate) name: Arc<str>,
    pub(crate) id: Option<RunId>,
    pub(crate) about: Option<Box<Metadata>>,
    pub(crate) timeout: Option<Duration>,
    /// The timeout stands still while the run is paused.
    pub(crate) timeout_stands: bool,
    pub(crate) start_within: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    pub(crate) grace: Option<Duration>,
    pub(crate) stop_delivery: StopDelivery,
    pub(crate) link: Option<CancellationToken>,
    pub(crate) gate: Option<Box<Gate>>,
    pub(crate) input: Option<Payload>,
    /// Which attempt of a stored run it is, if it is not the first.
    pub(crate) again: Option<Box<Again>>,
}

/// A further attempt of a run that is stored.
#[derive(Clone, Debug)]
pub(crate) struct Again {
    pub(crate) attempt: u32,
    /// The number of its first event: those before are stored.
    pub(crate) first_seq: u64,
    /// It is paused still, and waits for its answer, at most until then.
    pub(crate) paused: Option<PauseEnd>,
}

/// When a pause is over, if it ever is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PauseEnd(pub(crate) Option<Instant>);

/// What a run is charged for when it comes, and gives back when it leaves. The input counts with
/// its text, which is there since the spec was checked.
#[inline]
pub(crate) fn brought(name: &str, about: Option<&Metadata>, input: Option<&Payload>) -> usize {
    counted(name.len() + about.map_or(0, Metadata::bytes) + input.map_or(0, Payload::len))
}

/// Bytes that are worth counting.
pub(crate) const fn counted(bytes: usize) -> usize {
    if bytes > BYTES_FREE { bytes } else { 0 }
}

/// What a run may bring without being charged for it.
const BYTES_FREE: usize = 256;

/// What few specs say, as their runs keep it.
pub(crate) struct SpecRest {
    pub(crate) grace: Option<Duration>,
    pub(crate) input: Option<Payload>,
    /// What a root asks of admission.
    pub(crate) gate: Option<Box<Gate>>,
    /// The number of its attempt.
    pub(crate) attempt: u32,
}

impl SpecRest {
    pub(crate) fn of(
        grace: Option<Duration>,
        input: Option<Payload>,
        gate: Option<Box<Gate>>,
        attempt: u32,
    ) -> Option<Box<Self>> {
        let says = grace.is_some() || input.is_some() || gate.is_some() || attempt > 1;
        says.then(|| Box::new(Self { grace, input, gate, attempt }))
    }
}

impl RunSpec {
    /// Names a run of any kind.
    pub fn new(kind: RunKind, name: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            name: name.into(),
            id: None,
            about: None,
            timeout: None,
            timeout_stands: false,
            start_within: None,
            idle: None,
            grace: None,
            stop_delivery: StopDelivery::Auto,
            link: None,
            gate: None,
            input: None,
            again: None,
        }
    }

    /// Names an agent run.
    pub fn agent(name: impl Into<Arc<str>>) -> Self {
        Self::new(RunKind::Agent, name)
    }

    /// Names a team run.
    pub fn team(name: impl Into<Arc<str>>) -> Self {
        Self::new(RunKind::Team, name)
    }

    /// Names a workflow run.
    pub fn workflow(name: impl Into<Arc<str>>) -> Self {
        Self::new(RunKind::Workflow, name)
    }

    /// Names a step.
    pub fn step(name: impl Into<Arc<str>>) -> Self {
        Self::new(RunKind::Step, name)
    }

    /// Names a branch of a parallel step.
    pub fn branch(name: impl Into<Arc<str>>) -> Self {
        Self::new(RunKind::Branch, name)
    }

    /// Names an attempt at something that may be tried again.
    pub fn attempt(name: impl Into<Arc<str>>) -> Self {
        Self::new(RunKind::Attempt, name)
    }

    /// Brings an id. Defaults to a new one; one in use is refused. A root is refused, too, if its
    /// store has a run with the id; a run below a root has begun by then, and goes on: nothing of
    /// it is stored, and what nodes and HTTP clients ask of the id is asked of the stored run.
    pub fn id(mut self, id: RunId) -> Self {
        self.id = Some(id);
        self
    }

    /// Adds a label, by which the run is found ([`labels`](crate::RunRef::labels)); the same key
    /// again replaces it. At most 32, each text at most 1 KiB; more is refused at submit.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.about.get_or_insert_default().labels.insert(key.into(), value.into());
        self
    }

    /// Adds what a front end needs to show the run again, when nothing but the run is left; the
    /// same key again replaces it. Kept as long as the run, which is found by its labels, not by
    /// this; a body adds more: [`annotate`](crate::RunContext::annotate). At most 16, of 256 bytes
    /// a key and 64 MiB in all; more is refused at submit. They count as the input does.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::{Engine, Payload, RunSpec};
    ///
    /// let engine = Engine::new();
    /// let asked = Payload::from_json_text(r#"{"theme":"dark"}"#).unwrap();
    /// let spec = RunSpec::agent("reply").annotation("front-end", asked);
    /// let id = engine.submit(spec, async |_| Ok(())).unwrap().id();
    ///
    /// let run = engine.get(id).unwrap();
    /// assert_eq!(run.annotation("front-end").unwrap().as_json(), r#"{"theme":"dark"}"#);
    /// # });
    /// ```
    pub fn annotation(mut self, key: impl Into<String>, value: Payload) -> Self {
        self.about.get_or_insert_default().annotations.insert(key.into(), value);
        self
    }

    /// Names the owner, at most 256 bytes. Defaults to nobody.
    pub fn owner(mut self, owner: impl Into<Arc<str>>) -> Self {
        self.about.get_or_insert_default().owner = Some(owner.into());
        self
    }

    /// Sets the time from the first start to the run's own deadline; then it is stopped with cause
    /// `Deadline` and ends `TimedOut`. Defaults to none. Zero stops it as soon as it starts. See
    /// [`RunRef::set_timeout`](crate::RunRef::set_timeout) for a change while it runs.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Lets the timeout stand still while the run is paused. By default it goes on then, as it
    /// counts from the first start over all attempts.
    pub fn timeout_stands_in_pauses(mut self) -> Self {
        self.timeout_stands = true;
        self
    }

    /// Bounds the time from acceptance to the start; then it ends `TimedOut`, its body never
    /// polled. Defaults to none. Zero leaves no time to start.
    pub fn start_within(mut self, time: Duration) -> Self {
        self.start_within = Some(time);
        self
    }

    /// Bounds the time without an emit, progress or transition in the subtree; then it is stopped
    /// with cause `IdleTimeout` and ends `TimedOut`. Defaults to none. Zero stops it as soon as it
    /// starts.
    pub fn idle(mut self, time: Duration) -> Self {
        self.idle = Some(time);
        self
    }

    /// Sets the time between the acceptance of a stop and abort. Defaults to the engine's (5 s).
    /// Zero drops the body at once. Under a stopped parent it can only be shorter than the
    /// parent's.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Bounds what the run and its descendants may use together, as told by
    /// [`RunContext::usage`](crate::RunContext::usage); beyond it the run is stopped with cause
    /// `BudgetExceeded` and ends `Cancelled`. Defaults to no bound. A bound of zero stops it at the
    /// first use.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::{Budget, CauseKind, Engine, RunSpec, RunStatus, Usage};
    ///
    /// let engine = Engine::new();
    /// let spec = RunSpec::agent("writer").budget(Budget::new().tokens(1_000));
    /// let run = engine.submit(spec, async |ctx| {
    ///     while ctx.checkpoint().is_ok() {
    ///         ctx.usage(Usage { output_tokens: 400, ..Usage::default() });
    ///     }
    ///     Ok(())
    /// }).unwrap();
    /// let report = run.ended().await;
    /// assert_eq!(report.status, RunStatus::Cancelled);
    /// assert_eq!(report.cause.as_ref().unwrap().kind, CauseKind::BudgetExceeded);
    /// assert_eq!(report.own_row().usage.output_tokens, 1_200);
    /// # });
    /// ```
    pub fn budget(mut self, budget: Budget) -> Self {
        self.about.get_or_insert_default().budget = Some(budget);
        self
    }

    /// Sets how a stop reaches the body. Defaults to [`StopDelivery::Auto`].
    pub fn stop_delivery(mut self, stop_delivery: StopDelivery) -> Self {
        self.stop_delivery = stop_delivery;
        self
    }

    /// Stops the run with cause `ExternalToken` when the token is cancelled. Defaults to none.
    pub fn linked_to(mut self, token: CancellationToken) -> Self {
        self.link = Some(token);
        self
    }

    /// Sets the input, at most 16 MiB; a larger one is refused at submit. Defaults to none. The
    /// engine keeps it for callers that look at the run, and does not read it.
    pub fn input(mut self, input: Payload) -> Self {
        self.input = Some(input);
        self
    }

    /// Puts a root into a lane: runs of one lane never overlap. The key has at most 256 bytes; a
    /// longer one is refused at submit. Defaults to none. A child runs within its root's lane: one
    /// that it names itself is not asked.
    pub fn lane(mut self, key: impl Into<Arc<str>>, on_busy: OnBusy) -> Self {
        self.gate().lane = Some(Lane { key: key.into(), on_busy });
        self
    }

    /// Has the submit refused with [`SubmitError::LaneBusy`](crate::SubmitError::LaneBusy) if its
    /// lane has a run that came after the mark. What a caller has decided about the runs that it
    /// saw in the lane, whether they may be stopped for instance, holds then for all of them.
    /// Defaults to none.
    pub fn lane_unchanged_since(mut self, mark: LaneMark) -> Self {
        self.gate().unchanged_since = Some(mark);
        self
    }

    /// Delays the start until an instant; meanwhile the run is `Queued`. Defaults to none. One that
    /// is over delays nothing. A root then takes its place in its lane, and waits for a slot, and
    /// with a store until its start is stored; a child, for which its parent waits, starts.
    pub fn not_before(mut self, due: Instant) -> Self {
        self.gate().not_before = Some(due);
        self
    }

    /// Claims an idempotency key together with the id: the next submit of the owner with the same
    /// key and payload is refused with
    /// [`SubmitError::AlreadySubmitted`](crate::SubmitError::AlreadySubmitted), which names this
    /// run, and starts nothing. Defaults to none. A child has no key: one that it names is not
    /// asked.
    ///
    /// A key is kept as long as its run is, and after that for 24 h more, within
    /// [`Limits::keys_max`](field@crate::Limits::keys_max): a repeat is then refused with
    /// [`SubmitError::KeyForgotten`](crate::SubmitError::KeyForgotten). A submit that is refused
    /// claims nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::{Engine, IdempotencyKey, RunSpec, SubmitError};
    ///
    /// let engine = Engine::new();
    /// let spec = |body: &str| {
    ///     let key = IdempotencyKey::new("order-7", [body]);
    ///     RunSpec::agent("order").owner("ada").idempotency_key(key)
    /// };
    /// let run = engine.submit(spec("a pen"), async |_| Ok(())).unwrap();
    /// let again = engine.submit(spec("a pen"), async |_| Ok(())).unwrap_err();
    /// assert_eq!(again, SubmitError::AlreadySubmitted(run.id()));
    /// let other = engine.submit(spec("a house"), async |_| Ok(())).unwrap_err();
    /// assert_eq!(other, SubmitError::KeyConflict);
    /// # });
    /// ```
    pub fn idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.about.get_or_insert_default().key = Some(key);
        self
    }

    /// Lets the run use a stop that was remembered for its id in this scope, too, besides one that
    /// was remembered in none. Defaults to no scope; at most 8, one more is refused at submit.
    pub fn stop_scope(mut self, scope: StopScope) -> Self {
        self.about.get_or_insert_default().add_stop_scope(scope);
        self
    }

    /// Sets the priority among the roots that wait for the same lane or limit: the highest starts
    /// first, of equals the one that came first, and a run comes when it is due. None that has
    /// started is stopped for another. Defaults to 0; of a child it changes nothing. It is stored.
    pub fn priority(mut self, priority: i8) -> Self {
        self.gate().priority = priority;
        self
    }

    /// Lets a root pass by the limits on how many run and how many wait: it takes no slot, and is
    /// never refused for a full queue. It is for what ends at once. The bounds on live runs apply
    /// still, and one with a lane or a due time waits for these as any other. Defaults to no.
    pub fn unlimited(mut self) -> Self {
        self.gate().is_unlimited = true;
        self
    }

    fn gate(&mut self) -> &mut Gate {
        self.gate.get_or_insert_default()
    }

    /// Yields the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Yields the kind.
    pub const fn kind(&self) -> RunKind {
        self.kind
    }

    /// Yields the bytes of what callers bring, as far as they are worth counting: what nearly every
    /// run has is bounded by the number of runs.
    pub(crate) fn bytes(&self) -> usize {
        brought(&self.name, self.about.as_deref(), self.input.as_ref())
    }

    pub(crate) fn check(&self) -> Result<(), SubmitError> {
        within("name", self.name.len(), limits::LABEL_BYTES_MAX)?;
        let input = self.input.as_ref().map_or(0, Payload::len);
        within("input", input, limits::PAYLOAD_BYTES_MAX)?;
        let lane = self.gate.as_ref().and_then(|gate| gate.lane.as_ref());
        within("lane", lane.map_or(0, |lane| lane.key.len()), limits::LANE_BYTES_MAX)?;
        self.about.as_ref().map_or(Ok(()), |about| about.check())
    }
}
