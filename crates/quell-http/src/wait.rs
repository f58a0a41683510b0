//! [`Wait`]: what an answer waits for, and for how long at most.

use std::sync::Arc;
use std::time::Duration;

use quell::{RunRef, RunReport, RunRow};
use tokio::time::{Instant, timeout};

/// What an answer waits for.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quell_http::Wait;
///
/// let wait = Wait::quiescent().at_most(Duration::from_secs(30));
/// assert!(!wait.is_none());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "it does nothing until it is given to somebody who waits"]
pub struct Wait {
    until: Until,
    at_most: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Until {
    #[default]
    Now,
    Terminal,
    Quiescent,
}

/// The result of a wait.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Waited {
    /// Whether the run reached it within the cap. True if nothing was waited for; false of a run
    /// that can never be known to be quiescent, if that was waited for.
    pub is_reached: bool,
    /// The report of the run now.
    pub report: Arc<RunReport>,
}

impl Wait {
    /// Waits for nothing.
    pub const fn none() -> Self {
        Self { until: Until::Now, at_most: None }
    }

    /// Waits until the run is terminal. A stopping run is terminal at the latest when its hard
    /// deadline and the abort wait are over.
    pub const fn terminal() -> Self {
        Self { until: Until::Terminal, at_most: None }
    }

    /// Waits until nothing of the run executes. Without a cap this may take for ever. If an earlier
    /// process has left work of it, nothing tells when that ends: then this waits for what this
    /// process has of it, and has not reached it.
    pub const fn quiescent() -> Self {
        Self { until: Until::Quiescent, at_most: None }
    }

    /// Caps the wait. Defaults to no cap. Zero looks once.
    pub const fn at_most(mut self, time: Duration) -> Self {
        self.at_most = Some(time);
        self
    }

    /// Tells whether nothing is waited for.
    pub const fn is_none(&self) -> bool {
        matches!(self.until, Until::Now)
    }

    /// Tells whether a run that is over has reached it: what an earlier process has left keeps it
    /// from being quiescent for good.
    pub(crate) fn is_reached_by(self, is_quiescent: bool) -> bool {
        self.until != Until::Quiescent || is_quiescent
    }

    /// Tells whether a run has come to what is waited for, by its row.
    pub(crate) const fn is_met_by(self, row: &RunRow) -> bool {
        match self.until {
            Until::Now => true,
            Until::Terminal => row.status.is_terminal(),
            Until::Quiescent => row.quiescent,
        }
    }

    /// Yields when it is over at the latest; none if it has no cap.
    pub(crate) fn over_at(self) -> Option<Instant> {
        Instant::now().checked_add(self.at_most?)
    }

    /// Waits for a run of this process. It never stops the run, and never fails. For one that
    /// another node of the cluster has, the store is read again and again:
    /// [`View::cancel`](crate::View::cancel).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn of(self, run: &RunRef) -> Waited {
        let reached = async {
            match self.until {
                Until::Now => run.report(),
                Until::Terminal => run.ended().await,
                Until::Quiescent => run.quiescent().await,
            }
        };
        let reached = match self.at_most {
            Some(time) => timeout(time, reached).await.ok(),
            None => Some(reached.await),
        };
        match reached {
            Some(report) => Waited { is_reached: self.is_reached_by(report.quiescent), report },
            None => Waited { is_reached: false, report: run.report() },
        }
    }
}
