//! Idempotency keys.

use std::sync::Arc;
use std::time::SystemTime;

use quell_core::limits;
use quell_core::store::{Claim, ClaimedKey, Record, Store, StoreError};

use super::fixture::{
    Verdict, accepted, at, end, first_epoch, forget, id, refused, same, stored, there,
};

fn claim(
    store: &dyn Store,
    nth: usize,
    owner: Option<&str>,
    payload: u8,
    now: SystemTime,
) -> Vec<Record> {
    let mut accepted = accepted(store, nth);
    accepted.owner = owner.map(Arc::from);
    accepted.key = Some(ClaimedKey { key: "order-7".into(), payload: [payload; 32] });
    accepted.at = now;
    vec![Record::Accepted(Box::new(accepted))]
}

/// What the store says of the key.
async fn said(
    store: &dyn Store,
    owner: Option<&str>,
    now: SystemTime,
    who: Option<(usize, u8, bool)>,
) -> Verdict {
    let claimed = store.claim(owner.map(Arc::from), "order-7".into(), now).await;
    let claim =
        |(nth, payload, is_forgotten)| Claim { run: id(nth), payload: [payload; 32], is_forgotten };
    same("who has the key", &claimed, &Ok(who.map(claim)))
}

pub(super) async fn once_per_owner(store: &dyn Store) -> Verdict {
    let of = |nth, owner, payload| claim(store, nth, owner, payload, at(0));
    for (nth, owner) in [(1, None), (2, Some("")), (3, Some("ada"))] {
        said(store, owner, at(0), None).await?;
        stored(store, of(nth, owner, 1)).await?;
        said(store, owner, at(0), Some((nth, 1, false))).await?;
        for (payload, is_same_payload) in [(1, true), (2, false)] {
            let (run, is_forgotten) = (id(nth), false);
            let claimed = StoreError::KeyClaimed { run, is_same_payload, is_forgotten };
            refused(store, of(9, owner, payload), &claimed).await?;
        }
    }
    same("a run that was refused", &store.get(id(9)).await, &Ok(None))?;
    let twice = of(4, Some("bob"), 1).into_iter().chain(of(5, Some("bob"), 1)).collect();
    let (run, is_same_payload, is_forgotten) = (id(4), true, false);
    let claimed = StoreError::KeyClaimed { run, is_same_payload, is_forgotten };
    refused(store, twice, &claimed).await?;
    stored(store, of(5, Some("bob"), 1)).await?;
    let key = there(store, id(5)).await?.accepted.key;
    same("its key", &key.map(|key| key.payload), &Some([1; 32]))
}

pub(super) async fn free_later(store: &dyn Store) -> Verdict {
    let epoch = first_epoch(store);
    stored(store, claim(store, 1, Some("ada"), 1, at(0))).await?;
    stored(store, vec![end(1, epoch)]).await?;
    stored(store, vec![forget(1, epoch)]).await?;
    let free_at = at(900) + limits::KEYS_TTL;
    let early = free_at - std::time::Duration::from_millis(1);
    let (run, is_same_payload, is_forgotten) = (id(1), true, true);
    let claimed = StoreError::KeyClaimed { run, is_same_payload, is_forgotten };
    refused(store, claim(store, 2, Some("ada"), 1, early), &claimed).await?;
    said(store, Some("ada"), early, Some((1, 1, true))).await?;
    said(store, Some("ada"), free_at, None).await?;
    stored(store, claim(store, 2, Some("ada"), 2, free_at)).await?;
    said(store, Some("ada"), free_at, Some((2, 2, false))).await?;
    let (run, is_forgotten) = (id(2), false);
    let claimed = StoreError::KeyClaimed { run, is_same_payload, is_forgotten };
    refused(store, claim(store, 3, Some("ada"), 2, free_at), &claimed).await
}
