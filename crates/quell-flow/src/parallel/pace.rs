//! [`Pace`]: when the next branch may start, and when the policy is asked although nothing ended.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, Sleep, sleep_until};

/// The times of one step, from its start.
pub(super) struct Pace {
    /// When the driver was made: monotonic times count from here.
    started: Instant,
    /// When the step started, as its report says: wall times count from here.
    started_at: SystemTime,
    /// When the policy is asked once more; none if it was, or never is.
    deadline: Option<Instant>,
    /// The time between two starts; none to start all at once.
    stagger: Option<Duration>,
    /// Before this instant no branch starts while another runs. Set at every staggered start.
    next_start: Option<Instant>,
    /// Made at the first wait for an instant: most steps wait for their branches alone.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn new(
        started_at: SystemTime,
        deadline: Option<Duration>,
        stagger: Option<Duration>,
    ) -> Self {
        let started = Instant::now();
        // A deadline that no clock can represent never comes.
        let deadline = deadline.and_then(|time| started.checked_add(time));
        Self { started, started_at, deadline, stagger, next_start: None, timer: None }
    }

    /// Yields the wall time of this instant.
    pub(super) fn now(&self) -> SystemTime {
        self.started_at + self.started.elapsed()
    }

    /// Tells whether the deadline of the policy is over; true only once.
    pub(super) fn take_deadline(&mut self) -> bool {
        self.deadline.take_if(|deadline| *deadline <= Instant::now()).is_some()
    }

    /// Tells whether a branch may start while others run.
    pub(super) fn may_start(&self) -> bool {
        self.next_start.is_none_or(|next| next <= Instant::now())
    }

    /// Notes that a branch starts.
    pub(super) fn note_start(&mut self) {
        let Some(stagger) = self.stagger else { return };
        let now = Instant::now();
        self.next_start = Some(now.checked_add(stagger).unwrap_or_else(|| now + FOR_EVER));
    }

    /// Waits for the deadline, and for the next start if a branch waits for nothing else.
    pub(super) fn poll_tick(&mut self, is_waiting: bool, cx: &mut Context<'_>) -> Poll<()> {
        let next_start = self.next_start.filter(|_| is_waiting);
        let Some(at) = self.deadline.into_iter().chain(next_start).min() else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx)
    }
}

/// Stands for a time between two starts that no clock can represent: 114 years.
const FOR_EVER: Duration = Duration::from_hours(1_000_000);
