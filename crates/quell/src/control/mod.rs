//! What has to happen at an instant, and what other nodes ask for.

pub(crate) mod acts;
pub(crate) mod membership;
pub(crate) mod turns;
