//! Signs of life, which take no lock of a run.

use loom::thread;

use quell_core::RunId;

use super::{Arc, EVERY, explore};
use crate::time::idle::IdleWatch;
use crate::time::ticks::Ticks;

#[test]
fn i11_of_signs_at_once_the_later_one_counts_and_one_that_left_shows_none() {
    explore("sign of life against sign of life and detach", EVERY, 2, |seen| {
        let (at, run) = (Ticks::from_raw, RunId::from_text("run"));
        let above = Arc::new(IdleWatch::new(run, at(1), None));
        let left = Arc::new(IdleWatch::new(run, at(1), Some(&above)));
        let stays = Arc::new(IdleWatch::new(run, at(1), Some(&above)));
        let other = thread::spawn({
            let (left, stays) = (Arc::clone(&left), Arc::clone(&stays));
            move || {
                stays.touch(at(2));
                left.touch(at(4));
            }
        });
        left.touch(at(3));
        left.cut_from(&above);
        other.join().unwrap();
        let reached = above.ticks();
        seen.note(usize::from(reached == at(4)));
        assert!(reached == at(3) || reached == at(4), "{reached:?}");
        assert_eq!((left.ticks(), stays.ticks()), (at(4), at(2)));
        left.touch(at(5));
        assert_eq!((left.ticks(), above.ticks()), (at(5), reached));
    });
}
