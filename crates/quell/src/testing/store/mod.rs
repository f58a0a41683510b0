//! The suite that every store passes: [`check`].

mod ends;
mod epochs;
mod facts;
mod fixture;
mod holds;
mod keys;
mod lanes;
mod leaving;
mod logs;
mod pauses;
mod reading;
mod suite;

pub use suite::check;
