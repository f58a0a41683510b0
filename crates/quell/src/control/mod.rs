//! What has to happen at an instant, and what other nodes ask for.

pub(crate) mod acts;
mod answering;
mod calls;
pub(crate) mod forgetting;
mod giving_up;
mod lane_turns;
mod leaving;
pub(crate) mod membership;
mod slots;
pub(crate) mod turns;
