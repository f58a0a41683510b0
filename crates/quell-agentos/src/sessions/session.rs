//! [`Told`]: sessions, as runs tell of them.
//!
//! Nothing is kept of a session: it is the root runs of one owner that name it, and its first one
//! says what it is of, and how it is called.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::SystemTime;

use quell::{RunId, limits};
use quell_flow::ComponentKind;
use quell_http::{RunView, View, whole_millis};

use crate::snapshot::{USER, session_of};
use crate::wire::run::message;

/// A session, as far as its runs were looked at.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Its id, as the first run spells it.
    pub(crate) id: String,
    pub(crate) owner: Option<Arc<str>>,
    /// The component of its first run.
    pub(crate) kind: ComponentKind,
    pub(crate) component: String,
    /// The user that its first run names.
    pub(crate) user: Option<String>,
    /// The text of its first message, or the name that it was given.
    pub(crate) name: String,
    pub(crate) created_at: SystemTime,
    pub(crate) updated_at: SystemTime,
    first: RunId,
}

/// What identifies a session: its owner and its id, of which all spellings of a UUID are one.
pub(crate) type SessionKey = (Option<Arc<str>>, RunId);

/// The sessions of the runs that were looked at.
#[derive(Debug, Default)]
pub(crate) struct Told {
    all: HashMap<SessionKey, Session>,
    /// What they take in memory, about.
    pub(crate) bytes: usize,
}

impl Session {
    /// Makes that of a run; none if its component is not in the catalog.
    fn of(view: &View, run: &RunView) -> Option<Self> {
        let component = view.component_of(run)?;
        let text = run.input().map(message).unwrap_or_default();
        Some(Self {
            id: session_of(run),
            owner: run.owner().map(Into::into),
            kind: component.kind(),
            component: component.id().to_owned(),
            user: run.label(USER).map(str::to_owned),
            name: limits::cut(&text, NAME_BYTES_MAX).into_owned(),
            created_at: whole_millis(run.queued_at()),
            updated_at: whole_millis(run.row().ended_at.unwrap_or_else(|| run.queued_at())),
            first: run.id(),
        })
    }

    /// Yields what identifies it.
    pub(crate) fn key(&self) -> SessionKey {
        (self.owner.clone(), RunId::from_text(&self.id))
    }

    /// Estimates what it takes in memory, and in an answer.
    pub(crate) fn bytes(&self) -> usize {
        BYTES + self.id.len() + self.name.len() + self.user.as_ref().map_or(0, String::len)
    }

    /// Adds what another run of it tells.
    fn join(&mut self, other: Self) {
        let updated_at = self.updated_at.max(other.updated_at);
        if (other.created_at, other.first) < (self.created_at, self.first) {
            *self = other;
        }
        self.updated_at = updated_at;
    }
}

impl Told {
    /// Adds what a run tells.
    pub(super) fn add(&mut self, view: &View, run: &RunView) {
        let Some(session) = Session::of(view, run) else { return };
        match self.all.entry(session.key()) {
            Entry::Vacant(entry) => {
                self.bytes += session.bytes();
                entry.insert(session);
            }
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                self.bytes -= known.bytes();
                known.join(session);
                self.bytes += known.bytes();
            }
        }
    }

    /// Yields the sessions.
    pub(crate) fn into_sessions(self) -> impl Iterator<Item = Session> {
        self.all.into_values()
    }
}

/// The longest name, in bytes. What is more of a message is cut.
pub(crate) const NAME_BYTES_MAX: usize = 1 << 10;

/// What a session takes besides its texts.
const BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use quell::{Engine, Payload};
    use quell_flow::{Catalog, Component};
    use quell_http::{NATIVE, Principal, Service, Start};

    use super::*;

    #[tokio::test]
    async fn a_session_is_called_as_its_first_message_whatever_the_order_of_its_runs() {
        let echo = Component::agent("echo", async |_ctx, input: Payload| Ok(input));
        let service = Service::new(Engine::new(), Catalog::new().with(echo));
        let view = service.view(NATIVE, Principal::named("ada"));
        let echo = view.component(ComponentKind::Agent, "echo").unwrap();
        let mut runs = Vec::new();
        for text in ["first".to_owned(), "x".repeat(2 * NAME_BYTES_MAX)] {
            let start = Start::new(echo, text.into()).session("s");
            runs.push(RunView::Live(view.start(start).await.unwrap().run));
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        for order in [[0, 1], [1, 0]] {
            let mut told = Told::default();
            for nth in order {
                told.add(&view, &runs[nth]);
            }
            let bytes = told.bytes;
            let all: Vec<_> = told.into_sessions().collect();
            assert_eq!(bytes, all.iter().map(Session::bytes).sum::<usize>());
            assert_eq!((all.len(), &*all[0].name), (1, "first"), "{order:?}");
        }
        let mut told = Told::default();
        told.add(&view, &runs[1]);
        let name = told.into_sessions().next().unwrap().name;
        assert!(name.len() <= NAME_BYTES_MAX && name.ends_with('…'), "{}", name.len());
    }
}
