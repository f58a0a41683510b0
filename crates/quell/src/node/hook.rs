//! A [`Hook`] is cleanup that a body has registered, as long as it waits for its turn: by itself,
//! then in a [`Batch`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use quell_core::Cause;

use crate::node::Site;
use crate::sync::AbortHandle;

/// A hook that waits for its turn.
#[derive(Debug)]
pub(crate) struct Hook {
    /// Which one it is.
    pub(crate) label: Label,
    /// Makes its future. Called once, when the hooks registered after it have ended.
    pub(crate) start: Start,
}

impl Hook {
    pub(crate) fn unrun(&self) -> Unrun {
        Unrun { number: self.label.number, at_end: self.label.at_end }
    }
}

/// Hooks that were handed out together. Their runner runs one after the other, or drops them.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Those that were not started, in order of registration.
    pub(crate) hooks: Vec<Hook>,
    /// None of them starts any more, and they are accounted for. Set once.
    pub(crate) is_over: bool,
    /// The task that runs them, until it is aborted.
    pub(crate) runner: Option<AbortHandle>,
}

impl Batch {
    pub(crate) fn new(hooks: Vec<Hook>) -> Self {
        Self { hooks, is_over: false, runner: None }
    }

    /// Says that none of them starts any more. Yields those that are to be accounted for, in the
    /// order in which they would have run.
    pub(crate) fn give_up(&mut self) -> Vec<Unrun> {
        if std::mem::replace(&mut self.is_over, true) {
            return Vec::new();
        }
        self.hooks.iter().rev().map(Hook::unrun).collect()
    }
}

/// A hook that is not going to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unrun {
    /// Its place in the order of registration.
    pub(crate) number: u32,
    /// Whether it was to run at every end, not only after a stop.
    pub(crate) at_end: bool,
}

/// By what events and reports name a hook.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    /// Its place in the order of registration.
    pub(crate) number: u32,
    /// Whether it runs at every end, not only after a stop.
    pub(crate) at_end: bool,
    /// What its caller calls it.
    pub(crate) name: Option<Arc<str>>,
    /// Where it was registered, if the engine notes that.
    pub(crate) site: Option<Site>,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.at_end { "end" } else { "stop" };
        write!(f, "{when} hook {}", self.number)?;
        if let Some(name) = &self.name {
            // In quotes: a name may contain what steers a terminal.
            write!(f, " {name:?}")?;
        }
        self.site.map_or(Ok(()), |site| write!(f, " at {site}"))
    }
}

/// Makes the future of a hook from why its run stops, if it does.
pub(crate) struct Start(pub(crate) Make);

type Make = Box<dyn FnOnce(Option<Arc<Cause>>) -> Cleanup + Send>;

/// The future of a hook.
pub(crate) type Cleanup = Pin<Box<dyn Future<Output = ()> + Send>>;

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Start")
    }
}
