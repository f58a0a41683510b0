//! The store of `quell run` and `quell serve`: a file that outlives the process.

mod left_behind;
mod open;

pub(crate) use open::{OpenStore, is_part_of};
