//! The latest steps of the [`schema`](crate::schema).

/// A run that was on a member which is lost: whether it has started nobody knows, whoever gives it
/// up later. The row of a member that has left is `drained` if nothing live that it has executes.
pub(crate) const DOUBTED: &str =
    "alter table run add column doubted boolean not null default false";

/// What a run had to show in its last pause. Members of the release before leave it as it was.
pub(crate) const SO_FAR: &str = "
alter table run add column partial text, add column summary text, add column used text";

/// Runs of a member that have ended and were not seen to be quiescent are found for it. The index
/// of all that are live is of no use for what is asked of one member. Limits that nobody knows of
/// any more leave.
pub(crate) const LEFT: &str = "
create index run_left on run (node) where status >= 3 and not quiescent;
drop index run_live;
create index run_live on run (ord) where status < 3;
delete from quota q where taken = 0
    and not exists (select 1 from quota_part p where p.name = q.name)";
