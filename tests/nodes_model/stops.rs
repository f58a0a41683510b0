//! [`Next::stops`]: a stop is asked for, carried out by the owner of the run, and answered.

use super::steps::Next;
use super::world::{Answer, Asked, Guard, Memory, NAMES, Status};

impl Next<'_> {
    pub(super) fn stops(&mut self, nth: usize) {
        let (it, own) = (self.world.processes[nth], NAMES[nth]);
        let has_seat = self.world.has_seat(nth) || !self.has(Guard::Seat);
        let owner = self.world.live().map(|run| run.owner);
        match self.world.asked {
            // A run that is in memory is stopped there.
            Asked::Nothing if it.memory == Memory::Nothing && has_seat && !it.is_lost => {
                let Some(owner) = owner.filter(|owner| self.world.seats[*owner].is_some()) else {
                    return;
                };
                let is_one = self.has(Guard::PutLock);
                let words = ["reads who has the run", "asks the owner for a stop [PUT]"];
                self.of(nth, words[usize::from(is_one)], |world| {
                    world.asker = if is_one { 0 } else { nth };
                    world.asked =
                        if is_one { Asked::Waits { owner } } else { Asked::Reads { owner } };
                });
            }
            Asked::Reads { owner } if self.world.asker == nth => {
                self.of(nth, "asks whom it has read for a stop", |world| {
                    world.asker = 0;
                    world.asked = Asked::Waits { owner };
                });
            }
            Asked::Waits { owner } if owner == own && has_seat && !it.is_lost => self.inbox(nth),
            _ => {}
        }
    }

    /// `Membership::carry_out`, and what becomes of its answer.
    fn inbox(&mut self, nth: usize) {
        let it = self.world.processes[nth];
        let Some(answer) = it.decided else {
            let stored = self.world.run.map(|run| run.status);
            let answer = match (it.memory, stored) {
                (Memory::Runs { .. }, _) => Answer::Accepted,
                (Memory::Ended(status), _) => Answer::Terminal(status),
                (_, Some(Status::Live)) if self.has(Guard::Rests) => return,
                (_, Some(Status::Live) | None) => Answer::Unknown,
                (_, Some(status)) => Answer::Terminal(status),
            };
            let words = "reads the stop, and decides";
            return self.of(nth, format_args!("{words}: {answer:?} [INBOX, carry_out]"), |world| {
                let it = &mut world.processes[nth];
                it.decided = Some(answer);
                if let Memory::Runs { is_stopped } = &mut it.memory {
                    *is_stopped = true;
                }
            });
        };
        let is_stored = match (answer, it.memory) {
            (Answer::Accepted, _) => it.is_stop_stored,
            (Answer::Terminal(_), Memory::Ended(_)) => it.is_end_stored,
            _ => true,
        };
        if is_stored || !self.has(Guard::AnswerStored) {
            self.of(nth, format_args!("answers: {answer:?} [ANSWER]"), |world| {
                world.processes[nth].decided = None;
                let is_accepted = answer == Answer::Accepted;
                world.asked = if is_accepted { Asked::Accepted } else { Asked::TooLate };
                let status = world.run.map(|run| run.status);
                world.broken = match answer {
                    Answer::Unknown if status == Some(Status::Live) => {
                        Some("a live run is called unknown")
                    }
                    Answer::Terminal(ended) if status != Some(ended) => {
                        Some("a run is called ended that is not")
                    }
                    _ => None,
                };
            });
        }
    }
}
