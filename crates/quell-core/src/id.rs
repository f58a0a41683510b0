//! Names of runs.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Identifies a run for ever: 16 bytes, `Copy`, ordered by creation when the engine made it.
///
/// The engine makes ids of UUID version 7. An embedder may bring its own: a UUID stands for itself,
/// any other text maps to a UUID of version 5, always the same for the same text.
///
/// # Examples
///
/// ```
/// use quell_core::RunId;
///
/// let id: RunId = "018f4e2c-0000-7000-8000-000000000001".parse().unwrap();
/// assert_eq!(id.to_string(), "018f4e2c-0000-7000-8000-000000000001");
/// assert_eq!(RunId::from_text("my-run"), RunId::from_text("my-run"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(into = "String", try_from = "String"))]
pub struct RunId {
    // Two words rather than sixteen bytes: compared, hashed and moved as such. What holds an id
    // is aligned then, and a copy of it never waits for bytes that were written across its words.
    /// The first eight bytes.
    high: u64,
    /// The last eight bytes.
    low: u64,
}

impl RunId {
    /// Takes a UUID as it is.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        let (high, low) = uuid.as_u64_pair();
        Self { high, low }
    }

    /// Takes any text: a UUID stands for itself, other text becomes its UUID of version 5.
    pub fn from_text(text: &str) -> Self {
        let foreign = |_| Uuid::new_v5(&NAMESPACE, text.as_bytes());
        Self::from_uuid(Uuid::try_parse(text).unwrap_or_else(foreign))
    }

    /// Yields the UUID.
    pub const fn as_uuid(&self) -> Uuid {
        Uuid::from_u64_pair(self.high, self.low)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_uuid(), f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunId({self})")
    }
}

impl FromStr for RunId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self::from_uuid)
    }
}

impl TryFrom<String> for RunId {
    type Error = uuid::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.to_string()
    }
}

/// The namespace under which foreign texts become ids. Never change it: stored ids depend on it.
const NAMESPACE: Uuid = Uuid::from_u128(0x6c3e_2f0a_8b1d_4e57_9a42_71d5_0c6f_e913);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_stands_for_itself_and_any_other_text_for_the_same_uuid_for_ever() {
        let text = "018f4e2c-0000-7000-8000-000000000001";
        let uuid = Uuid::try_parse(text).unwrap();
        let id = RunId::from_uuid(uuid);
        assert_eq!((RunId::from_text(text), text.parse()), (id, Ok(id)));
        assert_eq!((id.as_uuid(), id.to_string()), (uuid, text.to_owned()));
        // Stored ids depend on it.
        let foreign = RunId::from_text("my-run");
        assert_eq!(foreign.to_string(), "7598d092-1893-535f-9357-a9de131d78f0");
        assert_eq!(foreign.as_uuid().get_version_num(), 5);
        assert_ne!(foreign, RunId::from_text("my-run "));
        assert!("my-run".parse::<RunId>().is_err());
        assert!(RunId::try_from("my-run".to_owned()).is_err());
    }
}
