//! [`Unreadable`]: one thing in a store that cannot be read, while all around it can.

use std::fmt;

use crate::RunId;

/// One thing that is stored and cannot be read: a newer release has written it, or somebody else
/// has changed it. What stands around it in a list is read all the same, so the caller decides what
/// is to be done about this one. Its run can still be ended and forgotten by its id.
///
/// # Examples
///
/// ```
/// use quell_core::RunId;
/// use quell_core::store::Unreadable;
///
/// let run = RunId::from_text("order-7");
/// let unreadable = Unreadable::new(Some(run), "kind", "unknown: swarm");
/// assert_eq!(
///     unreadable.to_string(),
///     format!(
///         "the stored kind of run {run} cannot be read (unknown: swarm): use the release that \
///          wrote it, or a newer one"
///     ),
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreadable {
    /// The run of which it is, of an event the root; none if that cannot be read either.
    pub run: Option<RunId>,
    /// Its number, if it is an event: a reader goes on behind it.
    pub seq: Option<u64>,
    /// Which part of it: a word or two.
    pub what: String,
    /// Why not.
    pub fault: String,
}

impl Unreadable {
    /// Names what cannot be read, and why.
    pub fn new(run: Option<RunId>, what: impl Into<String>, fault: impl fmt::Display) -> Self {
        Self { run, seq: None, what: what.into(), fault: fault.to_string() }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, seq, what, fault } = self;
        write!(f, "the stored {what}")?;
        if let Some(seq) = seq {
            write!(f, " {seq}")?;
        }
        if let Some(run) = run {
            write!(f, " of run {run}")?;
        }
        write!(f, " cannot be read ({fault}): use the release that wrote it, or a newer one")
    }
}

impl std::error::Error for Unreadable {}

/// One thing of a list: what it is, or that it cannot be read.
pub type Stored<T> = Result<T, Unreadable>;
