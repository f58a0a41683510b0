//! Slots of limits that all members keep together, and [`share`]: how they are divided.

use std::sync::Arc;

/// What a member asks of the slots of one limit: it gives some back, and wants others.
///
/// # Examples
///
/// ```
/// use quell_core::cluster::SlotsAsked;
///
/// let asked = SlotsAsked::new("kind agent", "kind agent", Some(40)).want(3, 3);
/// assert_eq!((asked.give, asked.want, asked.spare), (0, 3, 3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct SlotsAsked {
    /// The name of the limit.
    pub limit: Arc<str>,
    /// The name of its scope, which has the maximum: that of each owner is one for all owners.
    pub scope: Arc<str>,
    /// How many slots this member was told that the scope has; none if it was told nothing, which
    /// leaves the maximum as it is. Of several members the one that joined last is right.
    pub max: Option<usize>,
    /// How many slots it gives back, in number. Nothing that holds one of them executes.
    pub give: usize,
    /// How many more it needs, in number. Zero says that it waits for none.
    pub want: usize,
    /// How many it takes besides, if nobody waits for any, in number.
    pub spare: usize,
}

impl SlotsAsked {
    /// Asks how a limit stands.
    pub fn new(limit: impl Into<Arc<str>>, scope: impl Into<Arc<str>>, max: Option<usize>) -> Self {
        Self { limit: limit.into(), scope: scope.into(), max, give: 0, want: 0, spare: 0 }
    }

    /// Gives some back.
    pub const fn give(mut self, count: usize) -> Self {
        self.give = count;
        self
    }

    /// Wants some, and takes some besides.
    pub const fn want(mut self, count: usize, spare: usize) -> Self {
        (self.want, self.spare) = (count, spare);
        self
    }
}

/// How a limit stands for a member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a cluster tells all of it")]
pub struct SlotsHeld {
    /// The name of the limit.
    pub limit: Arc<str>,
    /// How many slots there are, in number.
    pub max: usize,
    /// The member that has set the maximum.
    pub set_by: Arc<str>,
    /// How many this member has.
    pub held: usize,
    /// How many all members have.
    pub taken: usize,
    /// Whether this member waits for more: it is told when some were given back.
    pub waits: bool,
    /// With how many this member makes do from now on, because others wait: what it has beyond it
    /// gives back as soon as nothing executes that holds it. None if nobody waits for that.
    pub may_keep: Option<usize>,
}

/// How one member stands at a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "that is all there is")]
pub struct SlotShare {
    /// How many slots it has.
    pub held: usize,
    /// For how many it waits.
    pub wants: usize,
    /// Since when it waits: an earlier one has a smaller number.
    pub since: u64,
}

/// What comes of an exchange of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "that is all there is")]
pub struct SlotsShared {
    /// How many slots the member has lost.
    pub gave: usize,
    /// How many it has got.
    pub got: usize,
    /// For how many it waits from now on.
    pub wants: usize,
    /// Whether it waits behind all others from now on.
    pub is_last: bool,
    /// As [`SlotsHeld::may_keep`].
    pub may_keep: Option<usize>,
    /// Whether the others are to look again.
    pub tells: bool,
}

/// Divides the slots of a limit: decides what a member gets that gives `give` back, needs `want`
/// more, and takes `spare` besides. `own` is how it stood before, `others` all others that have
/// slots or wait.
///
/// Invariant: no more slots are held than there are, unless there were fewer than were held before;
/// then nobody gets any.
///
/// The fair share of a member is the maximum divided by the number of those that have slots or
/// wait; at least one to get, and perhaps none to keep. Why nobody waits for ever, as long as what
/// holds a slot ends at last:
///
/// - A member below its fair share gets what is free before one that is at or above it, and of
///   several the one that waits longest comes first. Who gets something, or gives something back,
///   goes to the end.
/// - While somebody below its share waits in vain, all others have at least the rest together, so
///   that one is above its share. It is told to make do with that, and starts nothing beyond: what
///   ends there is given back. If there are fewer slots than members, it keeps none: each slot
///   goes round.
/// - What is free and not due to anybody below its share is for whoever asks. So nothing stays free
///   while somebody asks, but for what is due to one that was told and has not come yet.
///
/// # Examples
///
/// ```
/// use quell_core::cluster::{SlotShare, share};
///
/// let has_all = SlotShare { held: 10, ..SlotShare::default() };
/// let comes = share(10, SlotShare::default(), &[has_all], (0, 4, 4));
/// assert_eq!((comes.got, comes.wants, comes.tells), (0, 4, true));
///
/// let waits = SlotShare { held: 0, wants: 4, since: 7 };
/// let told = share(10, has_all, &[waits], (0, 0, 0));
/// assert_eq!(told.may_keep, Some(6));
/// let gives = share(10, has_all, &[waits], (4, 0, 0));
/// assert_eq!((gives.gave, gives.may_keep, gives.tells), (4, None, true));
/// let waits_no_more = share(10, waits, &[SlotShare { held: 6, ..has_all }], (0, 4, 4));
/// assert_eq!((waits_no_more.got, waits_no_more.wants), (4, 0));
/// ```
pub fn share(
    max: usize,
    own: SlotShare,
    others: &[SlotShare],
    (give, want, spare): (usize, usize, usize),
) -> SlotsShared {
    let returned = give.min(own.held);
    let held = own.held - returned;
    let since = if returned > 0 || own.wants == 0 { u64::MAX } else { own.since };
    let is_there = |one: &&SlotShare| one.held + one.wants > 0;
    let members = others.iter().filter(is_there).count() + usize::from(held + want > 0);
    let to_keep = max / members.max(1);
    let to_get = to_keep.max(1);
    let due = |one: &SlotShare| one.wants.min(to_get.saturating_sub(one.held));
    let due_before: usize = others.iter().filter(|one| one.since < since).map(due).sum();
    let due_to_all: usize = others.iter().map(due).sum();
    let taken = held + others.iter().map(|one| one.held).sum::<usize>();
    let free = max.saturating_sub(taken);

    let of_share = want.min(to_get.saturating_sub(held)).min(free.saturating_sub(due_before));
    let beyond = (want - of_share).min((free - of_share).saturating_sub(due_to_all));
    let waits_any = others.iter().any(|one| one.wants > 0);
    let besides = if waits_any { 0 } else { spare.min(free - of_share - beyond) };
    let got = of_share + beyond + besides;

    let wants = want - of_share - beyond;
    let owed = due_to_all.saturating_sub(free - got);
    let may_keep = (owed > 0).then(|| to_keep.max((held + got).saturating_sub(owed)));
    // Who looks again and changes nothing tells nobody: two that wait would keep each other busy.
    let frees = (returned > got || wants + got < own.wants) && waits_any;
    let tells = frees || wants > own.wants;
    let is_last = returned > 0 || got > 0 || own.wants == 0;
    SlotsShared { gave: returned, got, wants, is_last, may_keep, tells }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Members that start as many runs as they may, and of which each has so many to start.
    struct Members {
        max: usize,
        shares: Vec<SlotShare>,
        keep: Vec<Option<usize>>,
        clock: u64,
    }

    impl Members {
        fn new(max: usize, count: usize) -> Self {
            let (shares, keep) = (vec![SlotShare::default(); count], vec![None; count]);
            Self { max, shares, keep, clock: 0 }
        }

        fn ask(&mut self, nth: usize, asked: (usize, usize, usize)) -> SlotsShared {
            let mut others = self.shares.clone();
            let own = others.remove(nth);
            let before: usize = self.shares.iter().map(|one| one.held).sum();
            let shared = share(self.max, own, &others, asked);
            self.clock += 1;
            let since = if shared.is_last { self.clock } else { own.since };
            let held = own.held - shared.gave + shared.got;
            self.shares[nth] = SlotShare { held, wants: shared.wants, since };
            self.keep[nth] = shared.may_keep;
            let now: usize = self.shares.iter().map(|one| one.held).sum();
            assert!(now <= self.max.max(before), "{now} of {}", self.max);
            shared
        }
    }

    fn any_asked() -> impl Strategy<Value = (usize, usize, usize, usize)> {
        (0..4_usize, 0..6_usize, 0..6_usize, 0..4_usize)
    }

    proptest! {
        #[test]
        fn no_more_slots_are_held_than_there_are_whoever_asks_for_what(
            max in 0..12_usize,
            asked in proptest::collection::vec(any_asked(), 1..60),
        ) {
            let mut members = Members::new(max, 4);
            for (nth, give, want, spare) in asked {
                members.ask(nth, (give, want, spare));
            }
        }

        #[test]
        fn whoever_waits_gets_something_as_long_as_runs_end_elsewhere(
            max in 1..12_usize,
            count in 2..6_usize,
            who in 0..6_usize,
            greedy in 1..20_usize,
        ) {
            let mut members = Members::new(max, count);
            let who = who % count;
            for nth in (0..count).filter(|nth| *nth != who) {
                members.ask(nth, (0, greedy, greedy));
            }
            let mut has_got = false;
            // Each round each of the others has one run end, and would start one more.
            for _ in 0..4 * (max + count) {
                has_got |= members.ask(who, (0, 1, 0)).got > 0;
                if has_got {
                    break;
                }
                for nth in (0..count).filter(|nth| *nth != who) {
                    let SlotShare { held, .. } = members.shares[nth];
                    let may_keep = members.keep[nth].unwrap_or(held);
                    let give = usize::from(held > may_keep);
                    members.ask(nth, (give, greedy, 0));
                }
            }
            prop_assert!(has_got, "{:?}", members.shares);
        }

        #[test]
        fn nothing_stays_free_when_all_have_asked_that_wait(
            max in 1..12_usize,
            wants in proptest::collection::vec(0..8_usize, 2..5),
        ) {
            let mut members = Members::new(max, wants.len());
            for _ in 0..2 {
                for (nth, all) in wants.iter().enumerate() {
                    let more = all.saturating_sub(members.shares[nth].held);
                    members.ask(nth, (0, more, 0));
                }
            }
            let held: usize = members.shares.iter().map(|one| one.held).sum();
            prop_assert_eq!(held, max.min(wants.iter().sum()));
        }
    }

    #[test]
    fn a_single_slot_goes_round() {
        let mut members = Members::new(1, 3);
        assert_eq!(members.ask(0, (0, 5, 5)).got, 1);
        assert_eq!((members.ask(1, (0, 5, 5)).got, members.ask(2, (0, 5, 5)).got), (0, 0));
        assert_eq!(members.ask(0, (0, 4, 0)).may_keep, Some(0));
        assert_eq!(members.ask(0, (1, 5, 0)).got, 0, "it goes to the end");
        assert_eq!(members.ask(2, (0, 5, 0)).got, 0, "another one has waited longer");
        assert_eq!(members.ask(1, (0, 5, 0)).got, 1);
        members.ask(1, (1, 5, 0));
        assert_eq!(members.ask(0, (0, 5, 0)).got, 0);
        assert_eq!(members.ask(2, (0, 5, 0)).got, 1);
    }

    #[test]
    fn who_looks_again_and_changes_nothing_tells_nobody() {
        let mut members = Members::new(2, 3);
        members.ask(0, (0, 2, 0));
        assert!(members.ask(1, (0, 2, 0)).tells, "it waits since now");
        assert!(!members.ask(1, (0, 2, 0)).tells);
        assert!(members.ask(0, (1, 0, 0)).tells, "one is free");
        assert!(!members.ask(2, (0, 0, 0)).tells);
        assert!(!members.ask(1, (0, 2, 0)).tells, "it has got one");
    }
}
