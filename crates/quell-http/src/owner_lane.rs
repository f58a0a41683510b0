//! [`lane_of`]: lanes are per owner; the same key of another owner is another lane.

use quell::RunId;

/// Makes the engine's key of a lane of an owner, or of nobody.
pub(crate) fn lane_of(owner: Option<&str>, key: &str) -> String {
    match owner {
        Some(owner) if key.len() <= LANE_KEY_BYTES_MAX => of_owner(owner, key),
        _ => key.to_owned(),
    }
}

/// Makes the key of an owner's lane. If owner and key together are too long, it is their hash.
fn of_owner(owner: &str, key: &str) -> String {
    // The escaped name has no line end, so the first line end separates the two.
    let both = format!("{}\n{key}", owner.replace('%', "%25").replace('\n', "%0A"));
    if both.len() <= LANE_KEY_BYTES_MAX { both } else { RunId::from_text(&both).to_string() }
}

/// The longest key of a lane that a caller may choose, in bytes.
const LANE_KEY_BYTES_MAX: usize = quell::limits::LANE_BYTES_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_of_two_owners_are_two_whatever_they_are_called() {
        let keys = [("a", "b\nc"), ("a\nb", "c"), ("a%0Ab", "c"), ("a%0A", "b\nc"), ("a", "c")];
        let long = "x".repeat(LANE_KEY_BYTES_MAX);
        let keys = keys.into_iter().chain([("a\nb", &*long), ("a", &*long)]);
        let mut made: Vec<_> = keys.map(|(owner, key)| of_owner(owner, key)).collect();
        made.sort();
        made.dedup();
        assert_eq!(made.len(), 7, "{made:?}");
    }
}
