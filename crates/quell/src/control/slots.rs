//! [`Slots`] has the accounts of limits of all nodes, and exchanges slots with the cluster.
//!
//! One call is under way at a time, for all limits that have changed meanwhile: the busier a node
//! is, the larger its blocks. Who rings the bell of admission, the cluster with what has moved, and
//! a look each second start the next one. Without such a limit there is one call that waits, for
//! slots that were taken over.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use quell_core::cluster::{SlotsAsked, SlotsHeld};
use quell_core::lifecycle::later;

use crate::cluster::Member;
use crate::cluster::slots::Account;
use crate::control::calls::{self, Call};
use crate::control::membership::REST;
use crate::foreign;
use crate::node::Shared;
use crate::queue::{Scope, SlotStanding};
use crate::sync;
use crate::tables::admission::SlotKey;

/// The accounts of one engine, and the calls that are under way.
pub(super) struct Slots {
    limits: Vec<Limit>,
    accounts: HashMap<SlotKey, Open>,
    /// Limits that nobody has set here, of which slots were inherited, and how many.
    strange: HashMap<Arc<str>, usize>,
    /// Those that may have to ask.
    looks: HashSet<SlotKey>,
    /// When they are to be looked at again. What is not due any more is found out then.
    dues: BTreeSet<(Instant, SlotKey)>,
    exchange: Option<Exchange>,
    moved: Option<Call<Vec<Arc<str>>>>,
    /// When the cluster is asked next, if it failed last.
    rests: Rests,
    /// When all are looked at.
    look_at: Option<Instant>,
    /// What this has is to be read: of this and of which it has the slots of others.
    reads: bool,
    /// It was read, before anything was asked for: what was there then is of an earlier process.
    has_read: bool,
    /// Slots were there that an earlier process of this name had.
    has_inherited: bool,
}

/// A limit that is set.
#[derive(Debug)]
struct Limit {
    scope: Scope,
    name: Arc<str>,
    max: usize,
    /// What another node has set, and was said.
    said: Option<usize>,
    /// As the cluster has it.
    stands: usize,
}

/// An account that is open.
#[derive(Debug)]
struct Open {
    account: Account,
    name: Arc<str>,
    /// How many slots all nodes have.
    taken: usize,
}

#[derive(Default)]
struct Rests {
    moved: Option<Instant>,
    exchange: Option<Instant>,
    /// When what was inherited of unknown limits is looked at, if it may not be given back yet.
    strange: Option<Instant>,
}

struct Exchange {
    asked: Vec<SlotKey>,
    /// Those of [`Slots::strange`] that were given back.
    strange: Vec<Arc<str>>,
    is_read: bool,
    call: Call<Vec<SlotsHeld>>,
}

impl Slots {
    /// Makes the accounts of the limits that are set.
    pub(super) fn new(limits: &[(Scope, usize)]) -> Self {
        let limit = |(scope, max): &(Scope, usize)| {
            let name = scope.to_string().into();
            Limit { scope: scope.clone(), name, max: *max, said: None, stands: *max }
        };
        let limits: Vec<_> = limits.iter().map(limit).collect();
        let mut slots = Self {
            accounts: HashMap::new(),
            strange: HashMap::new(),
            looks: HashSet::new(),
            dues: BTreeSet::new(),
            exchange: None,
            moved: None,
            rests: Rests::default(),
            // The maxima are told at once.
            look_at: (!limits.is_empty()).then(sync::now),
            reads: true,
            has_read: false,
            has_inherited: false,
            limits,
        };
        for nth in 0..slots.limits.len() {
            slots.open(&slots.key(nth));
        }
        slots
    }

    /// The key of a limit; that of each owner stands for all of them.
    fn key(&self, nth: usize) -> SlotKey {
        match self.limits[nth].scope {
            Scope::EachOwner => SlotKey::Owner(None),
            _ => SlotKey::Scope(nth),
        }
    }

    /// Goes on. Yields when there is something to be done although nothing happens.
    pub(super) fn poll(
        &mut self,
        shared: &Arc<Shared>,
        member: &Arc<Member>,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Option<Instant> {
        if let Some(bell) = shared.admission.bell()
            && bell.hear(cx.waker())
        {
            self.looks.extend(shared.admission.take_looks());
        }
        self.poll_moved(member, now, cx);
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = Some(later(now, LOOKS));
            for (key, open) in &mut self.accounts {
                // An owner of whom nothing waits is looked at when something happens.
                if !matches!(key, SlotKey::Owner(Some(_))) || open.account.waits() {
                    open.account.look(false);
                    self.looks.insert(key.clone());
                }
            }
        }
        while let Some((due, _)) = self.dues.first()
            && *due <= now
        {
            self.looks.extend(self.dues.pop_first().map(|(_, key)| key));
        }
        // Again after an answer: nothing else has the waker be kept.
        while self.poll_exchange(shared, now, cx) && self.rests.exchange.is_none() {
            self.begin(shared, member, now);
        }
        let due = self.dues.first().map(|(due, _)| *due);
        let rests = [self.rests.moved, self.rests.exchange, self.rests.strange];
        rests.into_iter().chain([self.look_at, due]).flatten().min()
    }

    /// Drops what is under way.
    pub(super) fn end(&mut self) {
        foreign::release(self.exchange.take().map(|exchange| exchange.call));
        foreign::release(self.moved.take());
    }

    fn poll_moved(&mut self, member: &Arc<Member>, now: Instant, cx: &mut Context<'_>) {
        if self.rests.moved.is_some_and(|at| at > now) {
            return;
        }
        self.rests.moved = None;
        loop {
            let mut call = self.moved.take().unwrap_or_else(|| {
                let cluster = Arc::clone(&member.cluster);
                Box::pin(async move { cluster.slots_moved().await })
            });
            let Poll::Ready(moved) = calls::poll(&mut call, cx) else {
                return self.moved = Some(call);
            };
            foreign::release(call);
            let Ok(names) = moved else {
                // The renewal says what is wrong.
                return self.rests.moved = Some(later(now, REST));
            };
            self.reads |= names.is_empty();
            let names: HashSet<_> = names.into_iter().collect();
            for (key, open) in &mut self.accounts {
                if names.is_empty() || names.contains(&open.name) {
                    open.account.look(true);
                    self.looks.insert(key.clone());
                }
            }
        }
    }

    /// Goes on with a call, and tells whether none is under way.
    fn poll_exchange(&mut self, shared: &Arc<Shared>, now: Instant, cx: &mut Context<'_>) -> bool {
        self.rests.exchange = self.rests.exchange.filter(|at| *at > now);
        self.rests.strange = self.rests.strange.filter(|at| *at > now);
        let Some(mut exchange) = self.exchange.take() else {
            return !self.looks.is_empty() || self.has_more();
        };
        let Poll::Ready(answer) = calls::poll(&mut exchange.call, cx) else {
            self.exchange = Some(exchange);
            return false;
        };
        let Exchange { asked, strange, is_read, call } = exchange;
        foreign::release(call);
        if answer.is_err() {
            self.rests.exchange = Some(later(now, REST));
            // What is left of these the cluster knows.
            self.reads |= is_read || !strange.is_empty();
        }
        let held = answer.unwrap_or_default();
        if asked.len() > held.len() {
            // A cluster that has no limits, or is away: it is not asked again and again.
            self.rests.exchange = Some(later(now, REST));
        }
        if is_read && self.rests.exchange.is_none() {
            self.take_in(&held);
        }
        let by_limit: HashMap<_, _> = held.iter().map(|held| (&*held.limit, held)).collect();
        for key in asked {
            self.answer(shared, &key, &by_limit, now);
            self.looks.insert(key);
        }
        self.publish(shared);
        self.has_more() || !self.looks.is_empty()
    }

    /// Tells whether something is to be asked beside what the accounts ask.
    fn has_more(&self) -> bool {
        self.reads || !self.strange.is_empty() && self.rests.strange.is_none()
    }

    /// Takes the answer for one limit.
    fn answer(
        &mut self,
        shared: &Shared,
        key: &SlotKey,
        held: &HashMap<&str, &SlotsHeld>,
        now: Instant,
    ) {
        let Some(open) = self.accounts.get_mut(key) else { return };
        let answer = held.get(&*open.name).copied();
        open.taken = answer.map_or(open.taken, |answer| answer.taken);
        let account = &mut open.account;
        account.answered(answer);
        // Whether it asks again is decided once no call is under way.
        shared.admission.allow(key, now, |_| account.allowance());
        let (Some(nth), Some(SlotsHeld { max, set_by, .. })) = (self.place_of(key), answer) else {
            return;
        };
        let limit = &mut self.limits[nth];
        limit.stands = *max;
        if *max == limit.max {
            limit.said = None;
        } else if limit.said.replace(*max) != Some(*max) {
            let (limit, own) = (Arc::clone(&limit.name), limit.max);
            let (max, set_by) = (*max, Arc::clone(set_by));
            shared.couriers.send_words(Box::new(move || {
                tracing::warn!(
                    %limit, max, %set_by, own,
                    "another node has set this limit of all nodes, and joined last: it is right"
                );
            }));
        }
    }

    /// Asks for what is to be asked, if anything is.
    fn begin(&mut self, shared: &Arc<Shared>, member: &Arc<Member>, now: Instant) {
        let (is_deciding, is_unrecovered) = member.has_undecided();
        // Slots of runs that are not here yet are kept for them.
        let may_give = !(is_deciding || is_unrecovered && self.has_inherited);
        let (mut keys, mut asks, mut strange) = (Vec::new(), Vec::new(), Vec::new());
        let is_read = std::mem::take(&mut self.reads);
        for key in if is_read { HashSet::new() } else { std::mem::take(&mut self.looks) } {
            let max = self.limit_of(&key).map(|limit| (Arc::clone(&limit.name), limit.max));
            let Some((scope, max)) = max else { continue };
            self.open(&key);
            let Some(Open { account, name, .. }) = self.accounts.get_mut(&key) else { continue };
            let mut exchange = None;
            shared.admission.allow(&key, now, |need| {
                exchange = account.decide(need, now, may_give);
                account.allowance()
            });
            if let Some(due) = account.due() {
                self.dues.insert((due, key.clone()));
            }
            let (name, is_over) = (Arc::clone(name), account.is_over());
            if let Some(exchange) = exchange {
                let asked = SlotsAsked::new(name, scope, Some(max)).give(exchange.give);
                asks.push(asked.want(exchange.want, exchange.spare));
                keys.push(key);
            } else if is_over && matches!(key, SlotKey::Owner(Some(_))) {
                self.accounts.remove(&key);
            }
        }
        if may_give && !is_read {
            for (name, held) in self.strange.drain() {
                asks.push(SlotsAsked::new(Arc::clone(&name), Arc::clone(&name), None).give(held));
                strange.push(name);
            }
        } else if !self.strange.is_empty() && !is_read {
            self.rests.strange = Some(later(now, REST));
        }
        if asks.is_empty() && !is_read {
            return;
        }
        let cluster = Arc::clone(&member.cluster);
        let call = Box::pin(async move { cluster.slots(asks).await });
        self.exchange = Some(Exchange { asked: keys, strange, is_read, call });
    }

    /// Finds the limit of a key. That of each owner is one for all of them.
    fn place_of(&self, key: &SlotKey) -> Option<usize> {
        match key {
            SlotKey::Scope(nth) => Some(*nth),
            SlotKey::Owner(_) => self.limits.iter().position(|it| it.scope == Scope::EachOwner),
        }
    }

    fn limit_of(&self, key: &SlotKey) -> Option<&Limit> {
        self.limits.get(self.place_of(key)?)
    }

    /// Opens the account of a limit, if it has none.
    fn open(&mut self, key: &SlotKey) {
        if self.accounts.contains_key(key) {
            return;
        }
        let Some(limit) = self.limit_of(key) else { return };
        let name = match key {
            SlotKey::Owner(Some(owner)) => format!("{} {owner}", limit.name).into(),
            _ => Arc::clone(&limit.name),
        };
        let open = Open { account: Account::new(), name, taken: 0 };
        self.accounts.insert(key.clone(), open);
    }

    /// Takes in what this node has in the cluster, whosever it was.
    fn take_in(&mut self, held: &[SlotsHeld]) {
        let is_first = !std::mem::replace(&mut self.has_read, true);
        for one in held.iter().filter(|one| one.held > 0) {
            self.has_inherited |= is_first;
            let of_owner = self.limit_of(&SlotKey::Owner(None));
            let owner = of_owner.and_then(|limit| one.limit.strip_prefix(&*limit.name));
            let owner = owner.and_then(|rest| rest.strip_prefix(' ')).map(Arc::from);
            let named = self.limits.iter().position(|limit| limit.name == one.limit);
            let key = match (named, owner) {
                (Some(nth), _) => self.key(nth),
                (None, Some(owner)) => SlotKey::Owner(Some(owner)),
                (None, None) => {
                    self.strange.insert(Arc::clone(&one.limit), one.held);
                    continue;
                }
            };
            self.open(&key);
            if let Some(open) = self.accounts.get_mut(&key) {
                open.account.look(true);
                self.looks.insert(key);
            }
        }
    }

    /// Says how the limits stand.
    fn publish(&self, shared: &Shared) {
        let Some(member) = &shared.member else { return };
        let mut standing: Vec<_> = self
            .limits
            .iter()
            .map(|limit| SlotStanding {
                scope: limit.scope.clone(),
                max: limit.stands,
                taken: 0,
                held: 0,
            })
            .collect();
        for (key, open) in &self.accounts {
            if let Some(one) = self.place_of(key).and_then(|nth| standing.get_mut(nth)) {
                one.taken += open.taken;
                one.held += open.account.held();
            }
        }
        *member.slots.lock() = standing;
    }
}

/// How often all limits are looked at although nothing was heard.
const LOOKS: Duration = Duration::from_secs(1);
