//! [`KeyMarks`]: what stands for a static key in a token that is made for it.

use std::fmt;
use std::fmt::Write as _;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Makes marks of static keys. A mark stands for a key where the key itself must not be seen, as in
/// a token that is worth what its key is worth: [`Access::check_mark`](crate::Access::check_mark)
/// finds the key, if it is still accepted. Without the secret a mark says nothing about its key.
///
/// # Examples
///
/// ```
/// use quell_http::{Access, Key, KeyMarks};
///
/// let marks = KeyMarks::new("a secret of this server");
/// let mark = marks.of("s3cret-of-ops");
/// let access = Access::open().key(Key::new("ops", "s3cret-of-ops"));
/// assert_eq!(access.check_mark(&marks, &mark).unwrap().subject(), Some("ops"));
/// access.replace_keys(&Access::open().key(Key::new("ops", "another"))).unwrap();
/// assert!(access.check_mark(&marks, &mark).is_err());
/// ```
#[derive(Clone)]
pub struct KeyMarks(Hmac<Sha256>);

impl KeyMarks {
    /// Makes the marks of a secret: who has the same makes the same marks.
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "a secret of any length is taken"
    )]
    pub fn new(secret: impl AsRef<[u8]>) -> Self {
        let mut mac = Hmac::new_from_slice(secret.as_ref()).expect("a secret of any length");
        // The secret may sign other things as well: none of them is a mark.
        mac.update(b"mark of a key\0");
        Self(mac)
    }

    /// Yields the mark of a key: 64 hexadecimal digits.
    pub fn of(&self, key: impl AsRef<[u8]>) -> String {
        let mut mac = self.0.clone();
        mac.update(key.as_ref());
        let mut mark = String::with_capacity(64);
        for byte in mac.finalize().into_bytes() {
            // Writing to a text cannot fail.
            let _ = write!(mark, "{byte:02x}");
        }
        mark
    }
}

impl fmt::Debug for KeyMarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMarks").finish_non_exhaustive()
    }
}
