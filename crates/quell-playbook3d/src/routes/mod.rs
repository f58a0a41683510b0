//! The routes: parse, one call of the engine, render. Every one checks in this order (contract,
//! section 5): 401, 400, 404 (team), 403, 404 (run or workflow), 402, action.

mod caller;
mod cancel;
mod credentials;
mod describe;
mod described;
mod path;
mod prefix;
mod read;
mod router;
mod run;

pub use described::document;
pub use router::router;
