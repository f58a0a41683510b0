//! [`SoFar`]: what a policy may look at.

use std::sync::Arc;

/// What a policy may look at.
///
/// # Examples
///
/// ```
/// use quell_flow::{End, Ended, Policy, SoFar};
///
/// let ended = [Ended::new(1, "b", End::Ok(7))];
/// assert!(Policy::all().decide(&SoFar::new(2, &ended)).is_none());
/// assert!(Policy::first_success().decide(&SoFar::new(2, &ended)).is_some());
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct SoFar<'a, T> {
    /// How many branches there are.
    pub branches: usize,
    /// Those that have ended, in the order in which they did.
    pub ended: &'a [Ended<T>],
    /// How many of these are Ok.
    pub ok: usize,
    /// How many of these failed.
    pub failed: usize,
    /// Whether the deadline of the policy is over.
    pub is_over: bool,
}

impl<'a, T> SoFar<'a, T> {
    /// Puts together what a policy may look at before its deadline.
    pub fn new(branches: usize, ended: &'a [Ended<T>]) -> Self {
        let count = |is: fn(&End<T>) -> bool| ended.iter().filter(|one| is(&one.end)).count();
        let ok = count(|end| matches!(end, End::Ok(_)));
        let failed = count(|end| matches!(end, End::Failed(_)));
        Self { branches, ended, ok, failed, is_over: false }
    }

    /// Says the same at the deadline of the policy.
    #[must_use]
    pub const fn at_deadline(mut self) -> Self {
        self.is_over = true;
        self
    }

    /// Yields the values that there are, in the order in which they came.
    pub fn values(&self) -> impl Iterator<Item = &'a T> + use<'a, T> {
        self.ended.iter().filter_map(|ended| match &ended.end {
            End::Ok(value) => Some(value),
            End::Failed(_) | End::Skipped => None,
        })
    }

    /// Counts the branches that have not ended.
    pub const fn open(&self) -> usize {
        self.branches.saturating_sub(self.ended.len())
    }

    /// Tells whether every branch has ended.
    pub const fn all_ended(&self) -> bool {
        self.ended.len() >= self.branches
    }
}

/// One branch that has ended.
///
/// # Examples
///
/// ```
/// use quell_flow::{End, Ended};
///
/// let ended: Ended<u32> = Ended::new(0, "left", End::Failed("no route".into()));
/// assert_eq!(&*ended.name, "left");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended<T> {
    /// Its place in the order of declaration, from 0.
    pub branch: usize,
    /// Its name.
    pub name: Arc<str>,
    /// What it counts as.
    pub end: End<T>,
}

impl<T> Ended<T> {
    /// Says which branch ended, and as what it counts.
    pub fn new(branch: usize, name: impl Into<Arc<str>>, end: End<T>) -> Self {
        Self { branch, name: name.into(), end }
    }
}

/// What a branch that has ended counts as. For a branch that was stopped alone,
/// [`OnTimeout`](crate::OnTimeout) and [`OnCancelled`](crate::OnCancelled) say so.
///
/// # Examples
///
/// ```
/// use quell_flow::End;
///
/// assert!(matches!(End::Ok(1), End::Ok(1)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a policy must know everything a branch can count as")]
pub enum End<T> {
    /// It has a value.
    Ok(T),
    /// It failed, with this message.
    Failed(Arc<str>),
    /// The policy counts it as ended, and neither as Ok nor as failed.
    Skipped,
}
