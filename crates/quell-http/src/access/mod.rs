//! Access control: static keys, JSON web tokens, or open access on loopback.

mod control;
mod error;
mod jwt;
mod key;
mod key_marks;
mod key_set;
mod principal;
mod public_key;

pub(crate) use control::is_loopback;
pub use control::{Access, AccessMode};
pub use error::{AccessError, ExposedListener, KeyError};
pub use jwt::{Issuer, Jwt};
pub use key::Key;
pub use key_marks::KeyMarks;
pub use key_set::KeySet;
pub use principal::{ADMIN_SCOPES, Principal, Teams};
