//! [`Account`] decides what an engine asks for of the slots of one limit of all nodes, and what it
//! gives back.
//!
//! A slot is claimed in memory: the engine has some, and a run that ends leaves its slot to the
//! next one. Only when it has too few or too many it asks the cluster, for all at once. What it
//! has not needed for [`KEEP`] it gives back by itself, and at once if somebody waits for it.
//!
//! Invariants:
//!
//! 1. `held` is never more than this node has in the cluster: it falls before slots are given back,
//!    and rises when they are known to be got. One exchange is under way at a time. So if an answer
//!    is lost, what was given back counts as gone, and what was got as not got, until the next
//!    answer, which tells all.
//! 2. No run starts beyond `held`, nor, but for one in each slot that was just got, beyond
//!    `may_keep`; and what a run holds, until it is quiescent, is never given back (I27): `give` is
//!    at most `held` without `running`.
//! 3. While others wait this gives back what it has beyond its need, or beyond what it may keep,
//!    as soon as no run holds that. So no node waits for ever while runs end elsewhere: see
//!    [`share`](quell_core::cluster::share) for who gets what is free.
//!
//! ```text
//!            need > held                      answer: waits
//!  content ─────────────► asks ─────────────────────────────► stands in line
//!     ▲  │                  │ answer: got                        │ told, or a second later
//!     │  │ need < held      ▼                                    ▼
//!     │  └──► idles ──► gives back ◄── told that others wait ── asks
//!     └────────────────────┘
//! ```

use std::time::{Duration, Instant};

use quell_core::cluster::SlotsHeld;
use quell_core::lifecycle::later;

use crate::tables::admission::{Allowance, Need};

/// The slots of one limit.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each of them may be so or not by itself")]
pub(crate) struct Account {
    /// How many this engine has that it may use.
    held: usize,
    /// With how many it makes do, because others wait.
    may_keep: Option<usize>,
    /// Slots that were got for roots that have not taken them yet: each may be used once, whoever
    /// waits. Else it would go round, and nobody would use it.
    fresh: usize,
    /// How many roots may run because of these.
    floor: usize,
    /// It waits for slots, and the cluster knows.
    waits: bool,
    /// An exchange is under way.
    asks: bool,
    /// The last answer was lost, or none has come: what it has is to be asked.
    is_unsure: bool,
    /// It was told to look, or has not looked for a while.
    is_told: bool,
    /// It was told because slots have moved: somebody waits, perhaps.
    is_wanted: bool,
    /// Since when it has more than it needs, and how many it has needed meanwhile.
    idles: Option<(Instant, usize)>,
}

/// What is asked of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) give: usize,
    pub(crate) want: usize,
    pub(crate) spare: usize,
}

impl Account {
    /// Makes the account of a limit of which nothing is known.
    pub(crate) fn new() -> Self {
        Self { is_unsure: true, ..Self::default() }
    }

    /// Notes that it is time to look: slots have moved, or else a while has passed.
    pub(crate) const fn look(&mut self, have_moved: bool) {
        self.is_told = true;
        self.is_wanted |= have_moved;
    }

    /// Decides what is asked for, if anything is. Without leave nothing is given back.
    pub(crate) fn decide(&mut self, need: Need, now: Instant, may_give: bool) -> Option<Exchange> {
        if self.asks {
            return None;
        }
        let whole = need.running + need.waiting;
        self.fresh = self.fresh.min(self.held.saturating_sub(need.running)).min(need.waiting);
        self.floor = if self.fresh > 0 { need.running + self.fresh } else { 0 };
        // What was needed for a moment may be needed again.
        let most = whole.max(need.most);
        let spare = self.held.saturating_sub(whole);
        self.idles = (spare > 0).then(|| match self.idles {
            Some((since, before)) => (since, most.max(before)),
            None => (now, most),
        });
        let rested = self.idles.filter(|(since, _)| later(*since, KEEP) <= now);
        let keep = match (self.may_keep, rested) {
            (Some(max), _) => whole.min(max),
            (None, _) if self.is_wanted => whole,
            (None, Some((_, most))) => most,
            (None, None) => self.held,
        };
        let keep = keep.max(need.running + self.fresh).min(self.held);
        let give = if may_give && !self.is_unsure { self.held - keep } else { 0 };
        if rested.is_some() {
            // What is left of it, if anything, has another time.
            self.idles = Some((now, whole));
        }
        let want = whole.saturating_sub(self.held - give);
        // Who stands in line already is told when it is time to ask again.
        let is_news = give > 0 || (want > 0) != self.waits;
        if !is_news && !self.is_told && !self.is_unsure {
            return None;
        }
        self.held -= give;
        (self.asks, self.is_told, self.is_wanted) = (true, false, false);
        let spare = if want > 0 && self.may_keep.is_none() { whole.min(SPARE_MAX) } else { 0 };
        Some(Exchange { give, want, spare })
    }

    /// Takes the answer to what was asked for; none if it was lost.
    pub(crate) const fn answered(&mut self, answer: Option<&SlotsHeld>) {
        self.asks = false;
        match answer {
            Some(answer) => {
                let got = answer.held.saturating_sub(self.held);
                if got > 0 {
                    (self.fresh, self.floor) = (self.fresh + got, answer.held);
                }
                (self.held, self.waits) = (answer.held, answer.waits);
                (self.may_keep, self.is_unsure) = (answer.may_keep, false);
            }
            None => self.is_unsure = true,
        }
    }

    /// Yields what admission may give away.
    pub(crate) fn allowance(&self) -> Allowance {
        Allowance {
            max: self.may_keep.map_or(self.held, |max| max.max(self.floor).min(self.held)),
            hears_ends: self.may_keep.is_some() && !self.asks,
            is_asking: self.asks || self.waits,
            is_idling: self.asks || self.idles.is_some(),
        }
    }

    /// When it is to be looked at although nothing happens.
    pub(crate) fn due(&self) -> Option<Instant> {
        let (since, _) = self.idles.filter(|_| !self.asks)?;
        Some(later(since, KEEP))
    }

    /// How many slots this engine has that it may use.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Tells whether nothing is to be remembered of it.
    pub(crate) const fn is_over(&self) -> bool {
        self.held == 0 && !self.waits && !self.asks && !self.is_unsure && !self.is_told
    }

    /// Tells whether slots are waited for.
    pub(crate) const fn waits(&self) -> bool {
        self.waits
    }
}

/// How long slots are kept that are not needed, if nobody waits for them: a run that comes
/// meanwhile starts without a word to the cluster.
pub(crate) const KEEP: Duration = Duration::from_millis(250);

/// How many slots an engine takes beyond its need at most, if nobody waits. It takes as many again
/// as it needs.
const SPARE_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn need(running: usize, waiting: usize) -> Need {
        Need { running, most: running, waiting }
    }

    fn answer(held: usize, waits: bool, may_keep: Option<usize>) -> SlotsHeld {
        let limit = "all".into();
        SlotsHeld { limit, max: 9, set_by: "a".into(), held, taken: held, waits, may_keep }
    }

    fn account(has: usize) -> Account {
        let mut account = Account::new();
        account.decide(need(0, 0), Instant::now(), true).unwrap();
        account.answered(Some(&answer(has, false, None)));
        account
    }

    const fn exchange(give: usize, want: usize, spare: usize) -> Exchange {
        Exchange { give, want, spare }
    }

    #[test]
    fn a_block_is_asked_for_and_what_idles_is_kept_for_a_while() {
        let (mut account, now) = (account(0), Instant::now());
        assert_eq!(account.decide(need(0, 3), now, true), Some(exchange(0, 3, 3)));
        assert_eq!(account.decide(need(0, 5), now, true), None, "one at a time");
        account.answered(Some(&answer(6, false, None)));
        assert_eq!(account.decide(need(5, 0), now, true), None);
        assert_eq!(account.due(), Some(now + KEEP));
        // Two were needed meanwhile.
        let most = Need { most: 2, ..need(1, 0) };
        assert_eq!(account.decide(most, now + KEEP / 2, true), None);
        assert_eq!(
            account.decide(need(1, 0), now + KEEP, true),
            Some(exchange(1, 0, 0)),
            "of six five"
        );
        account.answered(Some(&answer(5, false, None)));
        assert_eq!(account.decide(need(1, 0), now + 2 * KEEP, true), Some(exchange(4, 0, 0)));
        account.answered(Some(&answer(1, false, None)));
        assert_eq!(account.decide(need(1, 0), now + 2 * KEEP, true), None);
        assert_eq!(account.due(), None);
    }

    #[test]
    fn what_idles_goes_at_once_when_somebody_waits_and_what_is_held_as_runs_end() {
        let (mut account, now) = (account(6), Instant::now());
        account.look(true);
        assert_eq!(account.decide(need(4, 0), now, true), Some(exchange(2, 0, 0)));
        account.answered(Some(&answer(4, false, Some(3))));
        assert_eq!(
            account.decide(need(4, 9), now, true),
            Some(exchange(0, 9, 0)),
            "it stands in line"
        );
        account.answered(Some(&answer(4, true, Some(3))));
        assert_eq!((account.allowance().max, account.allowance().hears_ends), (3, true));
        assert_eq!(account.decide(need(4, 9), now, true), None);
        assert_eq!(account.decide(need(3, 9), now, true), Some(exchange(1, 9, 0)));
        assert_eq!(account.allowance().max, 3);
    }

    #[test]
    fn nothing_is_given_back_while_it_is_not_known_what_is_held() {
        let (mut account, now) = (account(6), Instant::now());
        account.look(true);
        assert_eq!(
            account.decide(need(1, 0), now, false),
            Some(exchange(0, 0, 0)),
            "without leave"
        );
        account.answered(Some(&answer(6, false, Some(1))));
        assert_eq!(account.decide(need(1, 0), now, true), Some(exchange(5, 0, 0)));
        account.answered(None);
        assert_eq!(account.held(), 1, "what was given back is gone");
        assert_eq!(account.decide(need(1, 0), now, true), Some(exchange(0, 0, 0)), "it looks");
        account.answered(Some(&answer(6, false, None)));
        assert_eq!(account.held(), 6, "it was not");
    }
}
