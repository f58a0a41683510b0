//! Access control: static keys, JSON web tokens, or open access on loopback.

mod control;
mod error;
mod jwt;
mod key;
mod open;
mod principal;

pub use control::{Access, AccessMode};
pub use error::{AccessError, ExposedListener, KeyError};
pub use jwt::{Issuer, Jwt};
pub use key::Key;
pub use open::{BodyKinds, guard_open};
pub(crate) use open::{is_json, not_json};
pub use principal::{ADMIN_SCOPES, Principal, Teams};
