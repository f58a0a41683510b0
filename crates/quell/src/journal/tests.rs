//! What the journal leaves out of refused roots.

use std::sync::Arc;

use quell_core::store::{Record, StoreError};
use quell_core::{EventKind, Payload, RunEvent, RunId, limits};

use crate::journal::journal::{Done, Journal};
use crate::journal::{Doubted, Entry, Recorded};
use crate::log::{KeepsEvents as _, bytes_of};
use crate::store::MemoryStore;
use crate::sync::waiters::Wakers;

#[derive(Debug)]
struct Nobody;

impl Recorded for Nobody {
    fn id(&self) -> RunId {
        RunId::from_text("nobody")
    }

    fn records(_: &Entry<Self>, _: &Journal<Self>) -> (Record, Option<Record>) {
        unreachable!("nothing is written")
    }

    fn doubted(_: &Entry<Self>) -> Option<(Doubted, RunId)> {
        None
    }

    fn is_withdrawn(_: &Entry<Self>) -> bool {
        false
    }

    fn stored(_: Entry<Self>, _: &mut Wakers) {}

    fn refused(_: Entry<Self>, _: &StoreError) -> bool {
        false
    }

    fn tell_waiters(&self) {}
}

#[test]
fn what_a_refused_root_said_that_had_no_room_comes_in_no_log() {
    let journal = Journal::<Nobody>::new(Arc::new(MemoryStore::new()), true);
    let roots = ["talks", "refused", "accepted"].map(RunId::from_text);
    for root in roots {
        let (at, kind) = (std::time::UNIX_EPOCH, EventKind::Emitted(Payload::from("y")));
        // Of three the first one has room.
        let is_first = root == roots[0];
        let bytes = if is_first { bytes_of(&kind) } else { limits::STORE_BACKLOG_BYTES_MAX };
        journal.push_event(1, RunEvent::new(1, root, root, at, kind), bytes);
    }
    journal.note_refused(roots[1]);
    let taken = journal.lock().take();
    journal.count_out(Done::of(&taken, false), &mut Wakers::new());
    let gaps = journal.lock().take();
    let Some(Entry::Event(_, gap)) = gaps.first() else { unreachable!("{gaps:?}") };
    assert_eq!((taken.len(), gaps.len(), gap.root), (1, 1, roots[2]));
}

#[test]
fn what_a_refused_root_has_left_is_told_from_what_comes_under_its_id_behind_it() {
    let journal = Journal::<Nobody>::new(Arc::new(MemoryStore::new()), true);
    let root = RunId::from_text("refused");
    let says = || {
        let kind = EventKind::Emitted(Payload::from("y"));
        let bytes = bytes_of(&kind);
        journal.push_event(1, RunEvent::new(1, root, root, std::time::UNIX_EPOCH, kind), bytes);
    };
    says();
    assert!(!journal.leaves_out(root));
    journal.note_refused(root);
    assert!(journal.leaves_out(root), "an entry of it is still to come");
    let mut taken = journal.lock().take();
    let done = Done::of(&taken, false);
    assert_eq!(journal.lock().unaccepted.take(&mut taken).len(), 1);
    journal.count_out(done, &mut Wakers::new());
    assert!(!journal.leaves_out(root));
    // Another run has the id.
    says();
    let mut queue = journal.lock();
    let done = queue.done;
    queue.unaccepted.are_through(done);
    let mut taken = queue.take();
    assert_eq!((queue.unaccepted.take(&mut taken).len(), taken.len()), (0, 1));
}
