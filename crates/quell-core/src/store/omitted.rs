//! [`Omitted`]: what the records of a list need not have.

use crate::store::Accepted;
use crate::store::bytes::of_annotations;
use crate::{Annotations, Payload};

/// What the records of a page need not have: lists show little of runs that were given much. A
/// store reads less then, and counts what it leaves out as nothing.
///
/// # Examples
///
/// ```
/// use quell_core::store::{Omitted, Page};
///
/// assert_eq!(Page::first(50).omitted(), Omitted::Nothing);
/// assert_eq!(Page::first(50).omitting(Omitted::Given).omitted(), Omitted::Given);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a store handles each")]
pub enum Omitted {
    /// They have all.
    #[default]
    Nothing,
    /// They have neither inputs nor annotations.
    Given,
    /// They lack some of what they were given.
    Named {
        /// They lack these annotations.
        annotations: &'static [&'static str],
        /// They lack the input if they have this annotation.
        input_beside: &'static str,
    },
}

impl Omitted {
    /// Takes it out of what was read, and yields how many bytes that had.
    pub fn take_out(self, run: &mut Accepted) -> usize {
        let input_bytes = |run: &Accepted| run.input.as_ref().map_or(0, Payload::len);
        let before = input_bytes(run) + of_annotations(&run.annotations);
        match self {
            Self::Nothing => return 0,
            Self::Given => (run.input, run.annotations) = (None, Annotations::default()),
            Self::Named { annotations, input_beside } => {
                if run.annotations.contains_key(input_beside) {
                    run.input = None;
                }
                for key in annotations {
                    run.annotations.remove(key);
                }
            }
        }
        before - input_bytes(run) - of_annotations(&run.annotations)
    }
}
