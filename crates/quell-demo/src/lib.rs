//! The demo components that `quell serve --demo` serves, and a witness of what they really do.
//!
//! Components are deterministic and need neither a network nor keys. Their bodies count ticks and
//! note marks in a [`Witness`], outside the engine and its events: when an answer says that a run
//! has stopped, the witness shows whether its code still runs. [`witness_router`] serves the
//! records over HTTP.
//!
//! [`components`] adds all of them to a catalog. The modules hold those of one contract each, which
//! the tests of the adapters use. This crate depends on no adapter, so that adapters can depend on
//! it in their tests; [`playbook3d`] therefore yields teams and workflows as data.
//!
//! This crate is published because `quell-server` depends on it. It is not meant as a base for
//! components of your own.
//!
//! # Examples
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use quell::Engine;
//! use quell_demo::Witness;
//! use quell_flow::{Catalog, ComponentKind};
//!
//! let witness = Witness::default();
//! let catalog = quell_demo::components(Catalog::new(), &witness, "");
//! let component = catalog.get(ComponentKind::Agent, "short-agent").unwrap();
//!
//! let engine = Engine::new();
//! let run = component.start(&engine, component.spec(), "probe=p".into()).unwrap();
//! assert_eq!(run.await.unwrap().parse::<String>().unwrap(), "t0 t1 t2 ");
//!
//! let (ticks, marks) = witness.get("p");
//! assert_eq!(ticks["short-agent"], 3);
//! assert_eq!(marks, ["short-agent:start", "short-agent:done"]);
//! # });
//! ```

pub mod agentos;
mod all;
mod bench;
mod contracts;
pub mod langgraph;
mod native;
pub mod playbook3d;
mod witness;

pub use all::components;
pub use bench::router as witness_router;
pub use witness::{Record, Witness};
