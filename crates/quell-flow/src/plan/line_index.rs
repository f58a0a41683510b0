//! [`LineIndex`] finds the line of a place in a text without a walk from its begin.

use super::error::Place;

/// The places of a text at regular distances, from which that of any byte is near. A text with many
/// faults is so walked once, and not once for each.
///
/// # Examples
///
/// ```
/// use quell_flow::{LineIndex, PlanError};
///
/// let text = "[server]\ngrase = '1s'\n";
/// let lines = LineIndex::new(text);
/// let fault = PlanError::new("unknown key `grase`").in_lines(text, &lines, 9);
/// assert_eq!((fault.line(), fault.column()), (Some(2), Some(1)));
/// ```
#[derive(Clone, Debug)]
pub struct LineIndex {
    /// Those of each byte whose offset is a multiple of the distance.
    places: Vec<Place>,
}

impl LineIndex {
    /// Walks a text.
    pub fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut place = Place::START;
        let mut places = vec![place];
        for to in (DISTANCE..=bytes.len()).step_by(DISTANCE) {
            place = place.moved(bytes, to - DISTANCE..to);
            places.push(place);
        }
        Self { places }
    }

    /// Finds the place of a byte of the text. An offset beyond the end is the end.
    pub(crate) fn place(&self, text: &str, offset: usize) -> Place {
        let offset = offset.min(text.len());
        let at = (offset / DISTANCE).min(self.places.len() - 1);
        self.places[at].moved(text.as_bytes(), at * DISTANCE..offset)
    }
}

/// How many bytes the places are apart.
const DISTANCE: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_each_byte_is_that_of_a_walk_from_the_begin() {
        for before in 0..9 {
            let text = "x".repeat(before) + &"a\r\nü\rb\n".repeat(500);
            let lines = LineIndex::new(&text);
            assert_eq!(lines.places.len(), 4);
            let near = |at: usize| at.saturating_sub(5)..at + 5;
            for at in [0, 500, 1_024, 2_048, 3_072, text.len()].into_iter().flat_map(near) {
                let right = Place::of(text.as_bytes(), at);
                assert_eq!(lines.place(&text, at), right, "{before} {at}");
            }
        }
        assert_eq!(LineIndex::new("").place("", 7), Place::START);
    }
}
