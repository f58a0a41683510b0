//! The store of `quell run` and `quell serve`, a file or a database that outlives the process, and
//! the commands that read it.

mod begun;
mod ended;
mod ending;
mod events;
mod forget;
mod keep;
mod kept_runs;
mod left_behind;
mod node;
mod nodes;
mod open;
mod others;
mod over_http;
mod place;
mod reader;
mod resume;
mod runs;
mod show;
mod store_args;
mod surveyed;
mod unresumed;
mod upkeep;

pub(crate) use events::{EventsArgs, events};
pub(crate) use keep::{Keep, KeepArgs};
pub(crate) use node::{NodeArgs, default_name};
pub(crate) use nodes::{NODES_AFTER_HELP, NodesArgs, lost_json, node_json, nodes};
pub(crate) use open::{NotOpened, OpenStore, is_part_of};
pub(crate) use others::DRAINED;
pub(crate) use place::{Database, EXPECTED, Place, is_address, is_no_path, places};
pub(crate) use resume::{GRACE, Left, PLAN_FILE, TIMEOUT, as_annotation};
pub(crate) use runs::{RunsArgs, runs};
pub(crate) use show::{SHOW_AFTER_HELP, ShowArgs, show};
pub(crate) use unresumed::Unresumed;
pub(crate) use upkeep::{StoreCommand, upkeep};
