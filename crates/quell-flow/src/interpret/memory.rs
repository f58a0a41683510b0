//! [`Memory`] knows which steps of a plan have ended, and how; [`Recall`] asks it for one place.
//!
//! The next attempt of a plan's run starts at the top again. Before it starts a step, it asks the
//! memory of the attempts before: a step that has ended is not run again, and its value is the one
//! that it had. The memory is one for one run.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use quell::{Payload, RunSpec};

/// How a step has ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ended {
    /// With this value.
    Completed(Payload),
    /// With these words, which name the step.
    Failed(Arc<str>),
}

/// What is known of the steps of one run.
#[derive(Debug, Default)]
pub(super) struct Memory {
    known: Mutex<Known>,
    /// Whether the runs of steps are to be known again by what a store has of them.
    is_recorded: bool,
}

#[derive(Debug, Default)]
struct Known {
    /// The steps that have ended. Of one that has, those inside are not kept.
    ended: BTreeMap<Place, Ended>,
    /// The step that waits for an answer, until the answer is here.
    asked: Option<Place>,
    /// The answer that the last step which waited was given.
    answer: Option<(Place, Payload)>,
    /// How often steps were begun that have not ended: by their attempts, or else by their runs.
    begun: BTreeMap<Place, u32>,
}

impl Memory {
    /// Begins with what is known of the attempts before.
    pub(super) fn after(ended: BTreeMap<Place, Ended>, begun: BTreeMap<Place, u32>) -> Self {
        let known = Known { ended, begun, ..Known::default() };
        Self { known: Mutex::new(known), is_recorded: false }
    }

    /// Takes the step that asked last in the attempts before: an answer that the run has since
    /// then, or is given next, is for it.
    pub(super) fn asked_at(self, place: Option<Place>) -> Self {
        self.with(|known| known.asked = place);
        self
    }

    /// Has the runs of steps bear their places, and what is asked as well.
    pub(super) const fn recorded(mut self) -> Self {
        self.is_recorded = true;
        self
    }

    /// Gives an answer to the step that waits for one. Nobody asked for another one.
    pub(super) fn answer(&self, answer: Payload) {
        self.with(|known| {
            if let Some(place) = known.asked.take() {
                known.answer = Some((place, answer));
            }
        });
    }

    fn with<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The place of a step in a plan as it runs: the names of the steps around it and its own, with the
/// rounds of loops, the attempts of retries and the sides of conditions. Written as a JSON pointer,
/// so that no name can look like two.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(String);

impl Place {
    /// Takes the text of a place, as [`Recall::mark`] has written it.
    pub(super) const fn of_text(text: String) -> Self {
        Self(text)
    }

    /// Yields the place of what is inside.
    fn below(&self, segment: &dyn fmt::Display) -> Self {
        let escaped = segment.to_string().replace('~', "~0").replace('/', "~1");
        let mut below = self.0.clone();
        // A text takes all that is written.
        let _ = write!(below, "/{escaped}");
        Self(below)
    }

    pub(super) fn is_inside(&self, outer: &Self) -> bool {
        self.0.strip_prefix(&outer.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// What one place of a plan asks of the memory. A run without a next attempt has none.
#[derive(Clone, Debug, Default)]
pub(super) struct Recall(Option<(Arc<Memory>, Place)>);

impl Recall {
    /// Begins at the top of a plan.
    pub(super) fn of(memory: Arc<Memory>) -> Self {
        Self(Some((memory, Place::default())))
    }

    /// Tells whether there is a memory.
    pub(super) const fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Goes on to what is inside: a step, a round, an attempt, a side.
    pub(super) fn below(&self, segment: impl fmt::Display) -> Self {
        Self(self.0.as_ref().map(|(memory, place)| (Arc::clone(memory), place.below(&segment))))
    }

    /// Has the run of the step bear its place, if a store keeps it, and whether it is one around
    /// steps that may ask.
    pub(super) fn mark(&self, spec: RunSpec, is_around: bool) -> RunSpec {
        match &self.0 {
            Some((memory, place)) if memory.is_recorded => {
                let spec = spec.annotation(PLACE, place.0.as_str().into());
                if is_around { spec.annotation(AROUND, true.into()) } else { spec }
            }
            _ => spec,
        }
    }

    /// Yields the text of the place for what is asked, if a store keeps it.
    pub(super) fn place_to_ask(&self) -> Option<&str> {
        let (memory, place) = self.0.as_ref()?;
        memory.is_recorded.then_some(place.0.as_str())
    }

    /// Yields how often the step was begun and has not ended.
    pub(super) fn begun(&self) -> u32 {
        let Some((memory, place)) = &self.0 else { return 0 };
        memory.with(|known| known.begun.get(place).copied().unwrap_or_default())
    }

    /// Yields how the step has ended, if it has.
    pub(super) fn ended(&self) -> Option<Ended> {
        let (memory, place) = self.0.as_ref()?;
        memory.with(|known| known.ended.get(place).cloned())
    }

    /// Notes that the step has ended. What is inside of it is asked for no more.
    pub(super) fn note(&self, ended: Ended) {
        let Some((memory, place)) = &self.0 else { return };
        memory.with(|known| {
            let inside = known.ended.range(place.clone()..).skip_while(|(it, _)| *it == place);
            // Between a place and those inside are only names that go on behind it: `/a`, `/a-b`.
            let begins = |it: &Place| it.0.starts_with(&place.0);
            let inside = inside.map(|(it, _)| it).take_while(|it| begins(it));
            let inside: Vec<_> = inside.filter(|it| it.is_inside(place)).cloned().collect();
            for it in &inside {
                known.ended.remove(it);
            }
            known.ended.insert(place.clone(), ended);
            if known.answer.as_ref().is_some_and(|(it, _)| it == place) {
                known.answer = None;
            }
        });
    }

    /// Notes that the step waits for an answer. An answer that it had was none.
    pub(super) fn ask(&self) {
        let Some((memory, place)) = &self.0 else { return };
        memory.with(|known| {
            known.asked = Some(place.clone());
            known.answer = None;
        });
    }

    /// Tells whether a step inside was given an answer, and has not ended with it.
    pub(super) fn has_answer_inside(&self) -> bool {
        let Some((memory, place)) = &self.0 else { return false };
        memory.with(|known| known.answer.as_ref().is_some_and(|(it, _)| it.is_inside(place)))
    }

    /// Yields the answer that the step was given, if it was.
    pub(super) fn answer(&self) -> Option<Payload> {
        let (memory, place) = self.0.as_ref()?;
        memory.with(|known| {
            let (_, answer) = known.answer.as_ref().filter(|(it, _)| it == place)?;
            Some(answer.clone())
        })
    }
}

/// The annotation of the run of a step that has its place.
pub(super) const PLACE: &str = "plan.step";

/// The annotation of the run of a step around others that may ask: a sequence, a loop, a condition.
pub(super) const AROUND: &str = "plan.around";

#[cfg(test)]
mod tests {
    use super::*;

    fn top() -> (Arc<Memory>, Recall) {
        let memory = Arc::new(Memory::default());
        (Arc::clone(&memory), Recall::of(memory))
    }

    fn completed(value: &str) -> Ended {
        Ended::Completed(value.into())
    }

    #[test]
    fn a_step_that_has_ended_is_known_with_its_value_at_its_place_alone() {
        let (_, top) = top();
        let built = top.below("build");
        assert_eq!(built.ended(), None);
        built.note(completed("box"));
        assert_eq!(top.below("build").ended(), Some(completed("box")));
        for other in [top.below("test"), built.below("build"), top.clone()] {
            assert_eq!(other.ended(), None, "{other:?}");
        }
        top.below("test").note(Ended::Failed("two failed".into()));
        assert_eq!(top.below("test").ended(), Some(Ended::Failed("two failed".into())));
    }

    #[test]
    fn rounds_attempts_and_sides_are_places_of_their_own() {
        let (_, top) = top();
        let polls = top.below("poll");
        polls.below(1).below("ask").note(completed("no"));
        assert_eq!(polls.below(2).below("ask").ended(), None);
        polls.below(2).below("ask").note(completed("yes"));
        assert_eq!(polls.below(1).below("ask").ended(), Some(completed("no")));
        let choice = top.below("choice");
        choice.below("then").below("a").note(completed("x"));
        assert_eq!(choice.below("else").below("a").ended(), None);
    }

    #[test]
    fn no_name_of_a_step_looks_like_two() {
        let (_, top) = top();
        top.below("a/b").note(completed("one"));
        top.below("a~1b").note(completed("tilde"));
        assert_eq!(top.below("a").below("b").ended(), None);
        assert_eq!(top.below("a/b").ended(), Some(completed("one")));
    }

    #[test]
    fn what_is_inside_of_a_step_that_has_ended_is_not_kept_and_its_neighbours_are() {
        let (memory, top) = top();
        let names = ["a", "a-b", "a0", "ab", "b"];
        for outer in names {
            top.below(outer).below("in").below(1).note(completed(outer));
        }
        top.below("a").note(completed("whole"));
        assert_eq!(top.below("a").below("in").below(1).ended(), None);
        for outer in &names[1..] {
            let inner = top.below(outer).below("in").below(1);
            assert_eq!(inner.ended(), Some(completed(outer)), "{outer}");
        }
        assert_eq!(memory.with(|known| known.ended.len()), names.len());
    }

    #[test]
    fn an_answer_is_for_the_step_that_asked_last_and_is_gone_with_its_end() {
        let (memory, top) = top();
        memory.answer("nobody asked".into());
        let (ok, other) = (top.below("ok"), top.below("other"));
        assert_eq!(ok.answer(), None);
        ok.ask();
        memory.answer("yes".into());
        assert_eq!((ok.answer(), other.answer()), (Some("yes".into()), None));
        memory.answer("nobody asked again".into());
        assert_eq!(ok.answer(), Some("yes".into()));
        ok.note(completed("yes"));
        assert_eq!(ok.answer(), None);
        ok.ask();
        assert_eq!(ok.answer(), None);
    }

    #[test]
    fn an_answer_that_was_none_is_not_read_again() {
        let (memory, top) = top();
        top.ask();
        memory.answer("perhaps".into());
        top.ask();
        assert_eq!(top.answer(), None);
    }

    #[test]
    fn a_run_without_a_next_attempt_remembers_nothing() {
        let nothing = Recall::default().below("a");
        nothing.note(completed("x"));
        nothing.ask();
        assert_eq!((nothing.ended(), nothing.answer()), (None, None));
    }
}
