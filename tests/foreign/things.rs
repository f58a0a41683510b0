//! Values, errors, payloads and wakers that act.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::task::{Wake, Waker};

use quell::Payload;
use serde::{Serialize, Serializer};

use super::actor::Actor;

/// A value or an error that acts when it is dropped.
pub(super) struct Acts(pub(super) Arc<Actor>);

impl Drop for Acts {
    fn drop(&mut self) {
        self.0.act();
    }
}

impl fmt::Debug for Acts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acts")
    }
}

impl fmt::Display for Acts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error that acts")
    }
}

impl Error for Acts {}

/// An error that acts when it is put into words.
pub(super) struct Speaks(pub(super) Arc<Actor>);

impl fmt::Debug for Speaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Speaks")
    }
}

impl fmt::Display for Speaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.act();
        f.write_str("words")
    }
}

impl Error for Speaks {}

/// A payload that acts when it is written.
pub(super) fn written(actor: &Arc<Actor>) -> Payload {
    struct Written(Arc<Actor>);

    impl Serialize for Written {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            self.0.act();
            to.serialize_u8(7)
        }
    }

    Payload::json_later(Written(Arc::clone(actor)), 100)
}

/// A payload that acts when it is dropped, unless it was written before.
pub(super) fn unwritten(actor: &Arc<Actor>) -> Payload {
    struct Unwritten(Acts);

    impl Serialize for Unwritten {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let _ = &self.0;
            to.serialize_u8(7)
        }
    }

    Payload::json_later(Unwritten(Acts(Arc::clone(actor))), 100)
}

/// When a waker acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Woken,
    Dropped,
}

/// Makes a waker that acts.
pub(super) fn waker(actor: &Arc<Actor>, when: When) -> Waker {
    Waker::from(Arc::new(Wakes { actor: Arc::clone(actor), when }))
}

struct Wakes {
    actor: Arc<Actor>,
    when: When,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        if self.when == When::Woken {
            self.actor.act();
        }
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        if self.when == When::Dropped {
            self.actor.act();
        }
    }
}
