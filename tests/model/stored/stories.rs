//! Many random stories.

use std::cell::{Cell, RefCell};

use super::met::Met;
use super::script::scripts;
use super::stage::play;
use super::stores::Kept;
use crate::model::trees::check_with;

#[test]
fn i24_i34_i36_random_stories_of_lanes_pauses_and_crashes_on_a_store_in_memory() {
    tell(1_000, (3, true), || Ok(Kept::in_memory()));
}

#[test]
fn i24_i34_i36_random_stories_of_lanes_pauses_and_crashes_on_a_store_in_a_file() {
    tell(200, (2, false), Kept::in_a_file);
}

/// Plays so many stories. Over all of them, everything has to happen at least so often: on average
/// it does six times as often.
fn tell(stories: u32, (least, were_many): (u32, bool), kept: impl Fn() -> Result<Kept, String>) {
    let (met, whole, vague) = (RefCell::new(Met::default()), Cell::new(0), Cell::new(0));
    check_with(stories, TRIALS, scripts(60), |script| {
        let played = play(&script, kept()?)?;
        met.borrow_mut().add(&played.met);
        let count = if played.is_vague { &vague } else { &whole };
        count.set(count.get() + 1);
        Ok(())
    });
    met.into_inner().assert_all(least, were_many);
    assert!(whole > vague, "only {whole:?} were played to their end, {vague:?} were not");
}

/// Each trial of a smaller story takes its time.
const TRIALS: u32 = 150;
