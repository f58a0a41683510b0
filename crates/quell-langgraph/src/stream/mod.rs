//! The events of a run as server-sent events.

mod answer;
mod far;
mod growth;
mod here;
mod ids;
mod late;
mod pause;
mod places;
mod speech;
mod steps;
mod stream;

pub(crate) use far::far_frames;
pub(crate) use here::frames;
pub(crate) use stream::{From, end_frame};
