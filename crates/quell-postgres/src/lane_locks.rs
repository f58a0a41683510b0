//! [`lock`]: the lanes that a transaction locks.

use quell_core::store::Record;
use quell_durable::Pending;

use crate::lanes::rule_of;
use crate::sql::Sql;
use crate::step::Step;
use crate::text::kept;

/// Makes the statement that locks the lanes of the roots that appends accept, before any other one
/// of their transaction; none if none has a lane that others share.
pub(crate) fn lock<'a>(jobs: &[Pending]) -> Option<Step<'a>> {
    let records = jobs.iter().flat_map(|pending| &pending.job.writes).map(|write| &write.record);
    let lanes = records.filter_map(|record| match record {
        Record::Accepted(accepted) => rule_of(accepted).map(|(lane, _)| kept(lane).into_owned()),
        _ => None,
    });
    let lanes: Vec<String> = lanes.collect();
    if lanes.is_empty() {
        return None;
    }
    Some(Step { sql: Sql::LockLanes, values: vec![Box::new(lanes)], rows: 0, bytes: 0 })
}
