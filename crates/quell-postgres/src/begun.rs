//! [`BEGUN`]: which member has begun the work of runs that others have by now.

/// Notes who has begun the work of the runs that a member had, before others have them, or another
/// process of its name: also of those that have ended. What a service does is done elsewhere. What
/// a member has given up is that of its name. An array has its runs found by indexes, whatever
/// others have.
pub(crate) const BEGUN: &str = "update hold h set boot = n.joined,
        member = case when n.drained and n.name like '% (drained)'
            then left(n.name, -length(' (drained)')) else n.name end
    from node n where n.name = $1 and h.run = any(array(
        select ord from run where node = $1 and (status < 3 or stop_rollback and status >= 5)
            and (coalesce(status, 0) < 3 or not quiescent)
        union all select ord from run where node = $1 and status >= 3 and not quiescent))
    and h.member is null and h.what not in ('node', 'remote')";

/// Notes that the processes of a member are gone before another one joins under its name, with a
/// boot: what others name it for they executed. That holds whatever becomes of that one.
pub(crate) const BACK: &str = "update hold set fate = 1
    where member = $1 and what = 'node' and coalesce(boot, 0) < $2";

/// As it is noted now of what members of the release before have taken over: a member is named
/// behind what it had begun. One that is there has come back since.
pub(crate) const NAMED: &str = r"update hold set member = replace(name, '\\', '\'),
        fate = (select 1 from node n where n.name = replace(hold.name, '\\', '\'))
    where what = 'node' and member is null";

/// See [`NAMED`].
pub(crate) const BEGUN_BEFORE: &str = "update hold h
    set (member, boot) = (select m.member, m.boot from hold m
        where m.run = h.run and m.what = 'node' and m.nr > h.nr order by m.nr limit 1)
    where h.member is null and h.what not in ('node', 'remote')
    and exists (select 1 from hold m where m.run = h.run and m.what = 'node' and m.nr > h.nr)";
