//! [`sql`]: the statement that reads who is left of trees.

use quell_core::store::TreeNow;

/// Writes the statement that counts the runs of trees, in their order, as far as it matters which
/// of them are small.
pub(crate) fn sizes() -> String {
    format!(
        "select (select count(*) from (
            select 1 from run where root = t.root limit {}) counted)
        from unnest($1::uuid[]) with ordinality t (root, nth) order by t.nth",
        SMALL_MAX + 1
    )
}

/// Writes the statement. Each tree is looked at by the index of its root; the rows of all that were
/// looked at are there once, and texts of those alone are sent that are yielded. Of a report, which
/// has what its run gave as well, nothing is sent but what it names as abandoned.
pub(crate) fn sql() -> String {
    let (rows, names) = (TreeNow::ROWS_MAX + 1, TreeNow::NAMES_MAX);
    // An escape that is no character of the server is one no more: its backslash is doubled.
    let own = format!(
        r"(case when strpos(report, '\u') = 0 then report
            when report ~ '\\u({NONE})' then regexp_replace(report,
                '(\\[^u]|\\u(?!{NONE}))|(\\)(u)(?={NONE})', '\1\2\2\3', 'g')
            else report end)::json"
    );
    let abandoned = abandoned(&own);
    format!(
        "select t.nth, tree.* from
            unnest($1::uuid[], $2::int8[]) with ordinality t (root, stopped, nth)
        cross join lateral (
            with looked as materialized (
                select ord, id, parent, status, at, ended, quiescent, stop_mode
                from run where root = t.root limit {rows}),
            live as materialized (
                select l.ord, l.id, l.at, (c.parent is null) as is_leaf,
                    l.at <= t.stopped or coalesce(l.stop_mode, 0) > 0 as is_told,
                    (select json_agg(json_build_array(h.nr, h.what, h.name) order by h.nr)::text
                        from hold h where h.run = l.ord) as holds
                from looked l left join (
                    select distinct parent from looked where status < 3) c on c.parent = l.id
                where l.status < 3),
            works as materialized (
                select * from live where is_leaf or holds is not null),
            aborted as materialized (
                select l.ord, l.id from looked l where l.status >= 3 and l.ended >= t.stopped
                and (select case when strpos(report, '\"aborted\":true') > 0
                        then {own} #>> '{{rows,0,aborted}}' = 'true' else false end
                    from run where ord = l.ord offset 0)),
            executes as materialized (
                select ord, id from looked where status >= 3 and not quiescent),
            {abandoned}
            (select {WORKS}::int8 as what, w.at as a, w.is_leaf::int::int8 as b, 0::int8 as c,
                0::int8 as d, w.id, run.name,
                case when run.stop_mode > 0 then run.stop_cause end as text, w.holds
                from (select * from works order by ord limit {names}) w
                cross join lateral (
                    select name, stop_mode, stop_cause from run where ord = w.ord offset 0) run
                order by w.ord)
            union all
            (select {ABORTED}, 0, 0, 0, 0, a.id, run.name, null, null
                from (select * from aborted order by ord limit {names}) a
                cross join lateral (select name from run where ord = a.ord offset 0) run
                order by a.ord)
            union all
            (select what, 0, 0, 0, 0, id, null, text, null
                from abandoned order by ord, what, nr limit {names})
            union all
            select {COUNTS}, (select count(*) from live), (select count(*) from live where is_told),
                (select count(*) from works) + (select count(*) from aborted)
                    + (select count(*) from abandoned),
                (select count(*) from looked), null, null, null, null
        ) tree"
    )
}

/// Writes the parts of it that say what is abandoned of the runs that have ended and are not
/// quiescent, as [`RunRecord::left`](quell_core::store::RunRecord::left) does. What a run holds is
/// kept with a NUL as `\0`, and its backslashes doubled.
fn abandoned(own: &str) -> String {
    format!(
        "named as materialized (
            select e.ord, e.id, n.nr, n.value, n.value ->> 'what' as what,
                replace(replace(n.value ->> 'name', '\\', '\\\\'), '\\\\u0000', '\\0') as name
            from executes e
            cross join lateral (
                select case when strpos(report, '\"abandoned\":[{{') > 0
                    then {own} #> '{{rows,0,abandoned}}' end as list
                from run where ord = e.ord offset 0) own
            cross join lateral json_array_elements(own.list) with ordinality n (value, nr)),
        held as materialized (
            select e.ord, h.what, h.name,
                count(distinct h.nr) = count(distinct n.nr) as is_whole
            from executes e join hold h on h.run = e.ord
            left join named n on n.ord = e.ord and n.what = h.what
                and (n.name = h.name or starts_with(n.name, h.name || ' ('))
            group by e.ord, h.what, h.name),
        abandoned as materialized (
            select n.ord, {NAMED}::int8 as what, n.nr, n.id, n.value::text as text
            from named n where n.what not in ('process', 'remote', 'node') or exists (
                select 1 from held h where h.ord = n.ord and h.what = n.what and h.is_whole
                    and (n.name = h.name or starts_with(n.name, h.name || ' (')))
            union all
            select e.ord, {HELD}, h.nr, e.id,
                json_build_array(h.nr, h.what, h.name)::text
            from executes e join hold h on h.run = e.ord
            join held on held.ord = e.ord and held.what = h.what and held.name = h.name
            where not held.is_whole and (h.what <> 'node' or not exists (
                select 1 from hold b where b.run = h.run and b.what = 'node'
                    and b.name = h.name and b.nr < h.nr)))"
    )
}

/// What is behind `\u` where the server knows no character: a NUL, and a half of a pair.
const NONE: &str = "0000|[dD][89a-fA-F]";

/// What a row says: how many there are.
pub(crate) const COUNTS: i64 = 0;
/// A run that has not ended.
pub(crate) const WORKS: i64 = 1;
/// A run that was aborted.
pub(crate) const ABORTED: i64 = 2;
/// Work that the report of a run names.
const NAMED: i64 = 3;
/// Work that a run holds still.
pub(crate) const HELD: i64 = 4;

/// Runs of a tree that is small.
pub(crate) const SMALL_MAX: usize = 1_000;
