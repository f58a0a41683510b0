//! What goes wrong: in a body, at a handle, at a submit.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use quell_core::store::StoreError;
use quell_core::{RunId, Stopped, limits};

use crate::pause::PauseAsked;
use crate::queue::{Scope, runs};

/// What a body returns when it fails: any error, or words.
///
/// It converts from every [`std::error::Error`], so that `?` works, and is none itself, as with
/// `anyhow::Error`. [`from_boxed`](Self::from_boxed) takes both boxed errors and that one. What a
/// handle yields, [`RunError`], is one.
///
/// # Examples
///
/// ```
/// use quell::Failure;
///
/// fn body() -> Result<u32, Failure> {
///     let number: u32 = "12".parse()?;
///     if number > 100 {
///         return Err(Failure::new("too large"));
///     }
///     Ok(number)
/// }
/// assert_eq!(body().unwrap(), 12);
/// ```
///
/// A failure that is passed on with `?` from run to run stays the one that the run below had: a
/// chain of ten thousand runs names the first that failed, not every one in between.
#[derive(Clone)]
pub struct Failure(Arc<Reason>);

enum Reason {
    Words(Cow<'static, str>),
    /// An error of somebody else's, and its words: they were asked for where it came from, so that
    /// none of its code runs later, under a lock or on a thread of ours.
    Error(Box<dyn Error + Send + Sync>, String),
    /// An error of ours.
    Own(Box<dyn Error + Send + Sync>),
    Panic(Cow<'static, str>),
}

impl Failure {
    /// Says what went wrong in words.
    ///
    /// At most 16 KiB, as with the words of an error and of a panic; longer ones are cut at a
    /// character and marked with `…`.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Reason::Words(bounded(message.into()))))
    }

    /// Takes an error that is boxed already: with `?` alone it does not convert, for a box is no
    /// error itself. It says what the whole chain of sources says.
    ///
    /// An `anyhow::Error` is taken apart first, as below. Converted by `into` it hides what it was
    /// made from: a [`Stopped`] that a checkpoint yielded would count as an error while stopping,
    /// and [`downcast_ref`](Self::downcast_ref) would find nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use anyhow::Context as _;
    /// use quell::Failure;
    ///
    /// fn read() -> anyhow::Result<u32> {
    ///     "twelve".parse().context("the answer is no number")
    /// }
    ///
    /// fn failure(error: anyhow::Error) -> Failure {
    ///     Failure::from_boxed(error.reallocate_into_boxed_dyn_error_without_backtrace())
    /// }
    ///
    /// let words = read().map_err(failure).unwrap_err().to_string();
    /// assert_eq!(words, "the answer is no number: invalid digit found in string");
    /// let parsed: anyhow::Result<u32> = "twelve".parse().map_err(anyhow::Error::from);
    /// let failure = parsed.map_err(failure).unwrap_err();
    /// assert!(failure.downcast_ref::<std::num::ParseIntError>().is_some());
    /// ```
    pub fn from_boxed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::of_error(error.into())
    }

    fn of_error(error: Box<dyn Error + Send + Sync>) -> Self {
        if let Some(RunError::Failed(run)) = error.downcast_ref()
            && let Some(RunError::Failed(_)) = run.failure.downcast_ref()
        {
            return run.failure.clone();
        }
        let own = error.is::<RunError>() || error.is::<Stopped>() || error.is::<PauseAsked>();
        let reason = if own { Reason::Own(error) } else { Reason::of_foreign(error) };
        Self(Arc::new(reason))
    }

    /// Yields what it says, without the error that it was made from, if that may be somebody
    /// else's: then it may hold anything, its own run too.
    pub(crate) fn without_error(&self) -> Option<Self> {
        let is_foreign = match &*self.0 {
            Reason::Words(_) | Reason::Panic(_) => false,
            Reason::Error(..) => true,
            // A failure of a run below may hold an error, a stop and a refusal hold none.
            Reason::Own(error) => matches!(error.downcast_ref(), Some(RunError::Failed(_))),
        };
        is_foreign.then(|| Self::new(self.to_string()))
    }

    /// Yields how many bytes it has to say, about.
    pub(crate) fn bytes(&self) -> usize {
        match &*self.0 {
            Reason::Words(words) | Reason::Panic(words) => words.len(),
            Reason::Error(_, words) => words.len(),
            Reason::Own(_) => size_of::<RunError>(),
        }
    }

    /// Tells whether the body panicked.
    pub fn is_panic(&self) -> bool {
        matches!(*self.0, Reason::Panic(_))
    }

    /// Yields the error that it was made from, if it is an `E`.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        match &*self.0 {
            Reason::Error(error, _) | Reason::Own(error) => error.downcast_ref(),
            Reason::Words(_) | Reason::Panic(_) => None,
        }
    }

    /// Yields the stop that the body gave way to, if that is all it says.
    pub fn stopped(&self) -> Option<&Stopped> {
        self.downcast_ref::<Stopped>().or_else(|| match self.downcast_ref::<RunError>() {
            Some(RunError::Stopped(stopped)) => Some(stopped),
            _ => None,
        })
    }

    pub(crate) fn from_panic(panic: &(dyn Any + Send)) -> Self {
        Self(Arc::new(Reason::Panic(bounded(words_of(panic)))))
    }

    /// Adds the panic of the destructor of what a panic was raised with.
    pub(crate) fn then_panicked(self, again: &(dyn Any + Send)) -> Self {
        let Reason::Panic(first) = &*self.0 else { return self };
        let words = format!("{first}, then as that was dropped: {}", words_of(again));
        Self(Arc::new(Reason::Panic(bounded(words.into()))))
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::of_error(Box::new(error))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Reason::Words(words) => f.write_str(words),
            Reason::Error(_, words) => f.write_str(words),
            Reason::Own(error) => write_chain(&**error, f),
            Reason::Panic(words) => write!(f, "panicked: {words}"),
        }
    }
}

impl Reason {
    fn of_foreign(error: Box<dyn Error + Send + Sync>) -> Self {
        let mut words = Bounded(String::new());
        // What is cut off is not written; an error that fails to write itself has said what it
        // could.
        let _ = write_chain(&*error, &mut words);
        Self::Error(error, words.0)
    }
}

/// Yields the words of a panic.
fn words_of(panic: &(dyn Any + Send)) -> Cow<'static, str> {
    panic
        .downcast_ref::<&'static str>()
        .map(|text| Cow::Borrowed(*text))
        .or_else(|| panic.downcast_ref::<String>().map(|text| Cow::Owned(text.clone())))
        .unwrap_or(Cow::Borrowed("a panic without words"))
}

fn bounded(words: Cow<'static, str>) -> Cow<'static, str> {
    match limits::cut(&words, limits::FAILURE_BYTES_MAX) {
        Cow::Borrowed(_) => words,
        Cow::Owned(cut) => Cow::Owned(cut),
    }
}

/// Takes as many words as a failure may have; then it is full.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, words: &str) -> fmt::Result {
        let room = limits::FAILURE_BYTES_MAX - self.0.len();
        if words.len() <= room {
            self.0.push_str(words);
            return Ok(());
        }
        self.0.push_str(&words[..words.floor_char_boundary(room)]);
        let kept = self.0.floor_char_boundary(limits::FAILURE_BYTES_MAX - '…'.len_utf8());
        self.0.truncate(kept);
        self.0.push('…');
        Err(fmt::Error)
    }
}

fn write_chain(error: &(dyn Error + 'static), to: &mut impl fmt::Write) -> fmt::Result {
    write!(to, "{error}")?;
    let mut source = error.source();
    while let Some(cause) = source {
        write!(to, ": {cause}")?;
        source = cause.source();
    }
    Ok(())
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({self})")
    }
}

/// Why a handle yields no value.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The run was stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The run failed.
    #[error(transparent)]
    Failed(RunFailure),
    /// The run, a child, has asked for a pause of its root.
    #[error(transparent)]
    Paused(PauseAsked),
    /// The run was never accepted.
    #[error("run was refused")]
    Refused(#[from] SubmitError),
}

/// The failure of one run, as its handle yields it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("run `{}` failed: {failure}", readable(.name))]
#[non_exhaustive]
pub struct RunFailure {
    /// The run.
    pub run: RunId,
    /// Its name.
    pub name: Arc<str>,
    /// What its body returned, or its panic.
    pub failure: Failure,
}

/// Yields a name with signs in the place of control characters: a terminal would obey them.
fn readable(name: &str) -> String {
    name.split(char::is_control).collect::<Vec<_>>().join("\u{fffd}")
}

impl RunFailure {
    pub(crate) const fn new(run: RunId, name: Arc<str>, failure: Failure) -> Self {
        Self { run, name, failure }
    }

    /// Makes the failure of a parent whose child failed while no caller held its handle (D5).
    pub(crate) fn of_child(run: RunId, name: Arc<str>, failure: Option<Failure>) -> Failure {
        let failure = failure.unwrap_or_else(|| Failure::new("no reason given"));
        Failure::from(RunError::Failed(Self::new(run, name, failure)))
    }
}

/// Why a run was not accepted. Nothing was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The engine shuts down.
    #[error("engine is shutting down")]
    ShuttingDown,
    /// A run with this id is known.
    #[error("run id {0} is in use")]
    IdInUse(RunId),
    /// The lane has a run, perhaps one that is due later, and the new one would rather be refused
    /// than wait.
    #[error("lane `{lane}` is busy: run {run} has it")]
    LaneBusy {
        /// The key of the lane.
        lane: Arc<str>,
        /// The run that holds the lane; if all of them are due later, that which came first.
        run: RunId,
    },
    /// The lane has this run, and the new one would rather not be made: see
    /// [`OnBusy::JoinExisting`](crate::OnBusy::JoinExisting). The engine finds it by this id.
    #[error("run {0} has the lane")]
    LaneJoined(RunId),
    /// The owner has submitted this run with the same idempotency key and payload before. It is
    /// live or kept, and the engine finds it by this id, or will in a moment: it is taken in.
    #[error("run {0} was submitted with this idempotency key before")]
    AlreadySubmitted(RunId),
    /// The owner has submitted a run with the same idempotency key and payload before, which had
    /// this id and was forgotten since.
    #[error("run {0} of this idempotency key is no longer kept")]
    KeyForgotten(RunId),
    /// The owner has used the idempotency key with another payload.
    #[error("idempotency key was used with another payload")]
    KeyConflict,
    /// The run would have to wait, and one of its limits lets no more runs wait.
    #[error("queue is full: at most {} may wait ({scope})", runs(*max))]
    QueueFull {
        /// Whose queue it is: the first of the run's owner, component and kind, and of all, that is
        /// full.
        scope: Scope,
        /// How many may wait in it.
        max: usize,
    },
    /// The store has not taken it: see [`EngineConfig::store`](crate::EngineConfig::store).
    #[error("run was not stored: {0}")]
    NotStored(StoreError),
    /// A bound of the engine is reached.
    #[error("{what} would exceed the limit of {max}")]
    LimitReached {
        /// What there would be too many of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The owner has its share of a bound of the engine.
    #[error("{what} of owner `{owner}` would exceed the share of {max}")]
    ShareUsedUp {
        /// What there would be too many of.
        what: &'static str,
        /// The owner.
        owner: Arc<str>,
        /// The share.
        max: usize,
    },
    /// A field of the spec is beyond its bound.
    #[error("{what} has {bytes} bytes, the limit is {max}")]
    TooLarge {
        /// Which field.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
}

impl SubmitError {
    /// Says why the store has refused the acceptance of a run.
    pub(crate) fn of_store(run: RunId, error: StoreError) -> Self {
        match error {
            StoreError::Exists { .. } => Self::IdInUse(run),
            StoreError::KeyClaimed { is_same_payload: false, .. } => Self::KeyConflict,
            StoreError::KeyClaimed { run, is_forgotten: true, .. } => Self::KeyForgotten(run),
            StoreError::KeyClaimed { run, .. } => Self::AlreadySubmitted(run),
            StoreError::LaneBusy { lane, run } => Self::LaneBusy { lane, run },
            error => Self::NotStored(error),
        }
    }
}

/// Why a run was not forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForgetError {
    /// No such run; it may have been forgotten before.
    #[error("no run has this id")]
    Unknown,
    /// It belongs to the tree of another run, and is forgotten with that.
    #[error("run is not a root")]
    NotRoot,
    /// It has not ended, or something of it still executes.
    #[error("run is not quiescent")]
    NotQuiescent,
}

/// A shielded section did not end before the hard deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shielded section did not end before the hard deadline")]
#[non_exhaustive]
pub struct Elapsed;
