//! [`Act`]: what one engine asks of another about a run of that one, beside stops; and [`Said`],
//! what came of it. Nodes of several releases read each other's words: one that does not know them
//! does not take the act.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::control::answering;
use crate::foreign;
use crate::foreign::couriers::Couriers;
use crate::node::wait::Wait;
use crate::node::{Node, State};
use crate::pause::{Pause, PauseError, ResumeError};
use crate::queue::Scope;
use crate::sync::Mutex;
use quell_core::cluster::Cluster;
use quell_core::lifecycle::later;
use quell_core::store::StoreError;
use quell_core::{Cause, LimitsOutcome, NewLimits, Payload, RunKind, RunStatus};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is asked of a run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    /// To pause at its next checkpoint.
    Pause {
        /// What the pause asks.
        request: Payload,
        /// For how long it waits for the answer, in microseconds.
        expires_in_us: Option<u64>,
    },
    /// To go on with the answer to its pause.
    Resume {
        /// The answer.
        answer: Payload,
        /// The attempt that it is to; none for whichever asks.
        attempt: Option<u32>,
    },
    /// To have other limits.
    Limits(NewLimits),
}

/// What the engine says that has the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    /// It is done; an answer to a pause is stored.
    Done,
    /// The run was not asked to pause.
    NotPaused(#[serde(with = "PauseErrorWords")] PauseError),
    /// The run did not take its answer, or that could not be stored.
    NotResumed(#[serde(with = "ResumeErrorWords")] ResumeError),
    /// What came of new limits.
    Limits(LimitsWords),
    /// Nothing has changed: the node of this name ends, and has left the run to others.
    Left(Arc<str>),
    /// The run that is meant is forgotten. Nobody says so to whoever has named it by its id alone.
    Gone,
}

/// How far an act is that this engine was asked for: it is read once, and begun once. The wakers
/// are our own loop's.
#[derive(Debug, Default)]
pub(super) enum Progress {
    /// It is not read.
    #[default]
    Asked,
    /// A courier reads its words.
    Reading(Option<Waker>),
    /// This is asked; none if it is in words that are not known here.
    Read(Option<Act>),
    /// It was taken, and a courier carries it out.
    Begun(Option<Waker>),
    /// This came of it; none if it has panicked.
    Done(Option<Carried>),
}

/// What came of an act.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    said: Said,
    /// It was an answer to a pause.
    is_answer: bool,
}

impl Progress {
    /// Waits until it is read. Yields whether it is to be taken.
    fn poll_read(&mut self, waker: &Waker) -> Poll<Result<bool, StoreError>> {
        match self {
            Self::Reading(waiting) => {
                *waiting = Some(waker.clone());
                Poll::Pending
            }
            Self::Read(Some(_)) => Poll::Ready(Ok(true)),
            Self::Read(None) => {
                let what = "an act is in words that are not known here".into();
                Poll::Ready(Err(StoreError::Io { what }))
            }
            Self::Asked | Self::Begun(_) | Self::Done(_) => Poll::Ready(Ok(false)),
        }
    }

    /// Yields what came of an act that was begun.
    fn poll_done(&mut self, waker: &Waker) -> Poll<Option<Carried>> {
        match self {
            Self::Done(carried) => Poll::Ready(carried.clone()),
            Self::Begun(waiting) => {
                *waiting = Some(waker.clone());
                Poll::Pending
            }
            Self::Asked | Self::Reading(_) | Self::Read(_) => Poll::Ready(None),
        }
    }

    /// Begins it, if it is read and was not begun.
    fn begin(&mut self) -> Option<Act> {
        let Self::Read(act) = self else { return None };
        let act = act.take()?;
        *self = Self::Begun(None);
        Some(act)
    }
}

/// Goes on to the next state, and wakes who waits for that.
fn proceed(progress: &Mutex<Progress>, next: Progress) {
    let before = std::mem::replace(&mut *progress.lock(), next);
    if let Progress::Reading(Some(waker)) | Progress::Begun(Some(waker)) = before {
        waker.wake();
    }
}

impl Act {
    /// Makes that of a pause.
    pub(crate) fn pause(pause: Pause) -> Self {
        let (request, expires_in) = pause.into_parts();
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self::Pause { request, expires_in_us: expires_in.map(micros) }
    }

    /// Carries it out, unless the run is left to others.
    fn carry_out(self, node: &Arc<Node>) -> Said {
        use LimitsWords::{Changed, Exceeded};
        let said = self.said_of(node);
        let is_done = matches!(said, Said::Done | Said::Limits(Changed { .. } | Exceeded { .. }));
        match &node.shared.member {
            // What is left looks as if it were stopped here, and has lost what makes its body.
            Some(member) if !is_done && node.is_left_to_next() => {
                Said::Left(Arc::clone(&member.name))
            }
            _ => said,
        }
    }

    fn said_of(self, node: &Arc<Node>) -> Said {
        match self {
            Self::Pause { request, expires_in_us } => {
                let pause = Pause::new(request);
                let pause = match expires_in_us {
                    Some(micros) => pause.expires_in(Duration::from_micros(micros)),
                    None => pause,
                };
                node.pause_by_client(pause).map_or_else(Said::NotPaused, |()| Said::Done)
            }
            Self::Resume { answer, attempt } => {
                node.resume(answer, attempt).map_or_else(Said::NotResumed, |()| Said::Done)
            }
            Self::Limits(limits) => {
                let now = node.shared.clock.now();
                Said::Limits(LimitsWords::of(node.set_limits(limits), now))
            }
        }
    }
}

impl Said {
    /// Yields it once what it says is stored: an answer to a pause, and a stop for a limit.
    async fn stored(self, node: &Arc<Node>, is_answer: bool) -> Self {
        match self {
            Self::Done if is_answer => {
                let look = |state: &State| node.answer_stored(state);
                let stored = Wait::until(node, look).await;
                let not_stored = |error| Self::NotResumed(ResumeError::NotStored(error));
                stored.map_or_else(not_stored, |()| self)
            }
            Self::Limits(LimitsWords::Exceeded { .. }) => {
                // It stops, whatever the store says.
                let _ = Wait::until(node, |state: &State| node.stored(state)).await;
                self
            }
            _ => self,
        }
    }
}

/// Carries out an act that this engine was asked for about a run that it has, unless it was
/// withdrawn, and answers. What was begun is not begun again: `progress` outlives this.
///
/// The code of makers and payloads is foreign: it runs with a courier. So are the words read, which
/// may have 16 MiB: the loop that polls this renews the lease.
pub(super) async fn carry_out(
    cluster: &dyn Cluster,
    couriers: &Couriers,
    node: Arc<Node>,
    (nr, words): (u64, Payload),
    progress: Arc<Mutex<Progress>>,
) -> Result<(), StoreError> {
    let is_asked = matches!(*progress.lock(), Progress::Asked);
    if is_asked {
        *progress.lock() = Progress::Reading(None);
        let progress = Arc::clone(&progress);
        couriers.send(Box::new(move || {
            let act = foreign::catch_panic(|| words.parse::<Act>().ok()).ok().flatten();
            proceed(&progress, Progress::Read(act));
        }));
    }
    if poll_fn(|cx| progress.lock().poll_read(cx.waker())).await? {
        if !cluster.take(nr).await? {
            return Ok(());
        }
        let begun = progress.lock().begin();
        if let Some(act) = begun {
            let (node, progress) = (Arc::clone(&node), Arc::clone(&progress));
            couriers.send(Box::new(move || {
                let is_answer = matches!(act, Act::Resume { .. });
                let said = foreign::catch_panic(|| act.carry_out(&node)).ok();
                let carried = said.map(|said| Carried { said, is_answer });
                proceed(&progress, Progress::Done(carried));
            }));
        }
    }
    let carried = poll_fn(|cx| progress.lock().poll_done(cx.waker())).await;
    // Whoever asks learns that it is not known.
    let panicked = || StoreError::Io { what: "an act has panicked".into() };
    let Carried { said, is_answer } = carried.ok_or_else(panicked)?;
    answering::say(cluster, nr, &said.stored(&node, is_answer).await).await
}

/// [`LimitsOutcome`] with its instants as milliseconds from when it was said.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LimitsWords {
    Changed { deadline_in_ms: Option<u64> },
    Exceeded { hard_deadline_in_ms: u64 },
    AlreadyStopping { cause: Arc<Cause>, hard_deadline_in_ms: u64 },
    AlreadyTerminal { status: RunStatus },
}

impl LimitsWords {
    fn of(outcome: LimitsOutcome, now: Instant) -> Self {
        let in_ms = |at: Instant| {
            u64::try_from(at.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX)
        };
        match outcome {
            LimitsOutcome::Changed { deadline } => {
                Self::Changed { deadline_in_ms: deadline.map(in_ms) }
            }
            LimitsOutcome::Exceeded { hard_deadline } => {
                Self::Exceeded { hard_deadline_in_ms: in_ms(hard_deadline) }
            }
            LimitsOutcome::AlreadyStopping { cause, hard_deadline } => {
                Self::AlreadyStopping { cause, hard_deadline_in_ms: in_ms(hard_deadline) }
            }
            LimitsOutcome::AlreadyTerminal { status } => Self::AlreadyTerminal { status },
        }
    }

    /// Yields the outcome, by the clock of who reads it now.
    pub(crate) fn into_outcome(self, now: Instant) -> LimitsOutcome {
        let at = |ms| later(now, Duration::from_millis(ms));
        match self {
            Self::Changed { deadline_in_ms } => {
                LimitsOutcome::Changed { deadline: deadline_in_ms.map(at) }
            }
            Self::Exceeded { hard_deadline_in_ms } => {
                LimitsOutcome::Exceeded { hard_deadline: at(hard_deadline_in_ms) }
            }
            Self::AlreadyStopping { cause, hard_deadline_in_ms } => {
                let hard_deadline = at(hard_deadline_in_ms);
                LimitsOutcome::AlreadyStopping { cause, hard_deadline }
            }
            Self::AlreadyTerminal { status } => LimitsOutcome::AlreadyTerminal { status },
        }
    }
}

/// How a [`PauseError`] is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "PauseError", rename_all = "snake_case")]
enum PauseErrorWords {
    NotResumable,
    NotRoot,
    Over(RunStatus),
    TooLarge { bytes: usize, max: usize },
}

/// How a [`ResumeError`] is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "ResumeError", rename_all = "snake_case")]
enum ResumeErrorWords {
    Unknown,
    NotPaused(RunStatus),
    OtherAttempt {
        answered: u32,
        asks: u32,
    },
    QueueFull {
        #[serde(with = "ScopeWords")]
        scope: Scope,
        max: usize,
    },
    NoBody,
    #[serde(serialize_with = "write_trouble", deserialize_with = "read_trouble")]
    NotTaken(StoreError),
    #[serde(serialize_with = "write_trouble", deserialize_with = "read_trouble")]
    NotStored(StoreError),
    TooLarge {
        bytes: usize,
        max: usize,
    },
}

/// How a [`Scope`] is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Scope", rename_all = "snake_case")]
enum ScopeWords {
    All,
    Kind(RunKind),
    Component(RunKind, Arc<str>),
    EachOwner,
}

/// Writes what goes wrong with the store of a node: for people.
fn write_trouble<S: Serializer>(error: &StoreError, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(error)
}

fn read_trouble<'de, D: Deserializer<'de>>(from: D) -> Result<StoreError, D::Error> {
    Ok(StoreError::Io { what: String::deserialize(from)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again<T: Serialize + for<'de> Deserialize<'de>>(value: &T) -> T {
        Payload::json(value).unwrap().parse().unwrap()
    }

    #[test]
    fn what_an_engine_says_is_read_as_it_was_written() {
        let full = |scope| ResumeError::QueueFull { scope, max: 7 };
        let cause = quell_core::CancelRequest::because("enough").by("ada");
        let cause =
            cause.to_cause(std::time::SystemTime::UNIX_EPOCH, quell_core::RunId::from_text("r"));
        for said in [
            Said::Done,
            Said::NotResumed(ResumeError::Unknown),
            Said::NotResumed(ResumeError::NotPaused(RunStatus::Running)),
            Said::NotResumed(ResumeError::OtherAttempt { answered: 1, asks: 2 }),
            Said::NotResumed(full(Scope::All)),
            Said::NotResumed(full(Scope::Kind(RunKind::Agent))),
            Said::NotResumed(full(Scope::component(RunKind::Agent, "writer"))),
            Said::NotResumed(full(Scope::EachOwner)),
            Said::NotResumed(ResumeError::NoBody),
            Said::NotResumed(ResumeError::TooLarge { bytes: 9, max: 8 }),
            Said::NotPaused(PauseError::NotResumable),
            Said::NotPaused(PauseError::NotRoot),
            Said::NotPaused(PauseError::Over(RunStatus::Completed)),
            Said::NotPaused(PauseError::TooLarge { bytes: 9, max: 8 }),
            Said::Limits(LimitsWords::Changed { deadline_in_ms: None }),
            Said::Limits(LimitsWords::Exceeded { hard_deadline_in_ms: 5 }),
            Said::Limits(LimitsWords::AlreadyStopping {
                cause: Arc::new(cause),
                hard_deadline_in_ms: 5,
            }),
            Said::Limits(LimitsWords::AlreadyTerminal { status: RunStatus::TimedOut }),
            Said::Left("web-1".into()),
            Said::Gone,
        ] {
            assert_eq!(format!("{:?}", again(&said)), format!("{said:?}"));
        }
        let away = again(&Said::NotResumed(ResumeError::NotStored(StoreError::Closed)));
        let words = format!("{away:?}");
        assert!(words.contains("NotStored") && words.contains("the store is closed"), "{words}");
    }

    #[test]
    fn an_act_has_its_value_to_the_letter() {
        let answer = Payload::from_json_text(r#"{"b":1e400,"a":[1.0],"a":2}"#).unwrap();
        let act = again(&Act::Resume { answer: answer.clone(), attempt: Some(3) });
        let is_same = |read: &Payload| read.as_json() == answer.as_json();
        assert!(
            matches!(&act, Act::Resume { answer, attempt: Some(3) } if is_same(answer)),
            "{act:?}"
        );
    }
}
