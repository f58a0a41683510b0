//! [`Tickets`]: run ids that are handed out before there is a run (contract, choice 3).
//!
//! Nothing is kept of them. An id says when it was handed out, and has a mark that only who has the
//! secret can make for its owner: every server with that secret knows it, also after a restart.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// Hands ids out, and knows them again.
pub(crate) struct Tickets(Hmac<Sha256>);

impl Tickets {
    /// Makes the tickets of a secret.
    #[expect(clippy::expect_used, reason = "a key of any length is taken")]
    pub(crate) fn new(secret: &str) -> Self {
        let mut key = Hmac::new_from_slice(secret.as_bytes()).expect("a key of any length");
        // The secret signs tokens as well: none of them is an id.
        key.update(b"run id of Playbook3D\0");
        Self(key)
    }

    /// Hands an id out to an owner.
    pub(crate) fn issue(&self, owner: Option<&str>) -> Uuid {
        self.marked(owner, Uuid::now_v7())
    }

    /// Tells whether an id was handed out to an owner within the last day.
    pub(crate) fn is_of(&self, owner: Option<&str>, id: Uuid) -> bool {
        self.is_of_at(owner, id, SystemTime::now())
    }

    fn is_of_at(&self, owner: Option<&str>, id: Uuid, now: SystemTime) -> bool {
        let mark = id.as_bytes().last_chunk::<MARK_LEN>().map_or(&[][..], |mark| mark);
        let is_marked = self.mac(owner, id).verify_truncated_left(mark).is_ok();
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        is_marked && now.saturating_sub(issued_at(id)) < ID_LIFE
    }

    fn marked(&self, owner: Option<&str>, id: Uuid) -> Uuid {
        let mac = self.mac(owner, id).finalize().into_bytes();
        let mut bytes = id.into_bytes();
        if let Some(mark) = bytes.last_chunk_mut::<MARK_LEN>() {
            mark.iter_mut().zip(mac).for_each(|(byte, made)| *byte = made);
        }
        Uuid::from_bytes(bytes)
    }

    fn mac(&self, owner: Option<&str>, id: Uuid) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        if let Some((unmarked, _)) = id.as_bytes().split_last_chunk::<MARK_LEN>() {
            mac.update(unmarked);
        }
        if let Some(owner) = owner {
            mac.update(b"of");
            mac.update(owner.as_bytes());
        }
        mac
    }
}

/// Reads when an id of version 7 was made, after 1970.
fn issued_at(id: Uuid) -> Duration {
    Duration::from_millis((id.as_u128() >> 80) as u64)
}

/// The mark at the end of an id, in bytes: before it are the time, and the count with which ids of
/// one millisecond differ. Who guesses a mark may stop a run to come of their own, no more.
const MARK_LEN: usize = 4;

/// How long an id is known.
const ID_LIFE: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_id_is_its_owners_wherever_the_secret_is_the_same() {
        let (here, there, other) = (Tickets::new("s"), Tickets::new("s"), Tickets::new("t"));
        for owner in [None, Some("ada"), Some("")] {
            let id = here.issue(owner);
            assert_eq!(id.get_version_num(), 7);
            assert!(here.is_of(owner, id) && there.is_of(owner, id));
            assert!(!other.is_of(owner, id), "of another secret");
            for not_theirs in [None, Some("ada"), Some(""), Some("bob")] {
                assert!(not_theirs == owner || !here.is_of(not_theirs, id), "{not_theirs:?}");
            }
        }
    }

    #[test]
    fn an_id_that_was_changed_or_made_elsewhere_is_none() {
        let tickets = Tickets::new("s");
        let id = tickets.issue(None);
        for bit in 0..128 {
            assert!(!tickets.is_of(None, Uuid::from_u128(id.as_u128() ^ (1 << bit))), "{bit}");
        }
        assert!(!tickets.is_of(None, Uuid::nil()) && !tickets.is_of(None, Uuid::max()));
    }

    #[test]
    fn ids_differ() {
        let tickets = Tickets::new("s");
        let ids: HashSet<Uuid> = (0..50_000).map(|_| tickets.issue(Some("ada"))).collect();
        assert_eq!(ids.len(), 50_000);
    }

    #[test]
    fn an_id_is_forgotten_after_a_day() {
        let tickets = Tickets::new("s");
        let id = tickets.issue(None);
        let made = UNIX_EPOCH + issued_at(id);
        assert!(tickets.is_of_at(None, id, made + ID_LIFE - Duration::from_millis(1)));
        assert!(!tickets.is_of_at(None, id, made + ID_LIFE));
        // The clock of another server may be behind.
        assert!(tickets.is_of_at(None, id, made - Duration::from_hours(1)));
    }
}
