//! [`judge`]: what processes have said in their file, against what is stored in the end.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use crate::chaos_node::{LEASE, UNTOLD};
use crate::fixture::Place;

/// Makes tables in which the server notes what may never happen, whoever writes.
pub(crate) fn watch(place: &Place<'_>) {
    place.sql(
        "create table quell.chaos_end (id uuid); create table quell.chaos_late (id uuid);
        create function quell.chaos_sees() returns trigger language plpgsql as $$ begin
            if new.status >= 3 and new.status <> old.status then
                insert into quell.chaos_end values (new.id);
            end if;
            if new.epoch < old.epoch or old.status >= 3 and new.status < 3 then
                insert into quell.chaos_late values (new.id);
            end if;
            return null; end $$;
        create trigger chaos_sees after update on quell.run
            for each row execute function quell.chaos_sees();
        create function quell.chaos_sees_state() returns trigger language plpgsql as $$ begin
            insert into quell.chaos_late select id from quell.run
                where ord = new.run and (epoch > new.epoch or status >= 3);
            return null; end $$;
        create trigger chaos_sees_state after insert on quell.checkpoint
            for each row execute function quell.chaos_sees_state()",
    );
}

/// Tells whether enough was said of each kind, so that a judgement says something.
pub(crate) fn is_enough(file: &Path, wanted: &[(&str, usize)]) -> bool {
    let text = std::fs::read_to_string(file).unwrap();
    let said =
        |what: &str| text.lines().filter(|line| line.split(' ').nth(2) == Some(what)).count();
    wanted.iter().all(|(what, count)| said(what) >= *count)
}

/// How much of what was looked at.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) submitted: usize,
    pub(crate) begun: usize,
    pub(crate) stops: usize,
    pub(crate) recorded: usize,
    pub(crate) taken_over: usize,
    pub(crate) lost: usize,
    /// Runs that two processes have executed at once, one of which was frozen.
    pub(crate) overlaps: usize,
}

/// What is known of an attempt: its process, when it was first and last heard of, and when it has
/// begun to save something.
struct Attempt<'a> {
    pid: &'a str,
    first: u128,
    last: u128,
    beats: Vec<u128>,
}

/// A run as it is stored in the end.
struct Stored<'a> {
    status: &'a str,
    /// The words of the stop that has ended it.
    cause: &'a str,
}

/// Tells whether a process had said nothing for long when something happened, or shortly before:
/// the machine did not let it run. One that runs says something many times a second.
fn was_silent(said: &[u128], at: u128) -> bool {
    said.windows(2).any(|two| {
        two[0] < at && two[1] + LEASE.as_nanos() > at && two[1] - two[0] > SILENCE.as_nanos()
    })
}

/// What is long: a node has a second between the end of its bodies and that of its lease.
const SILENCE: Duration = Duration::from_millis(500);

/// Checks it all. `frozen` has the processes that were frozen, and when.
pub(crate) fn judge(place: &Place<'_>, file: &Path, frozen: &HashMap<String, u128>) -> Seen {
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let stored = place.sql("select id, status, report::json #>> '{cause,message}' from run");
    let stored: HashMap<&str, Stored<'_>> = stored
        .lines()
        .map(|line| {
            let [id, status, cause] = line.split('|').collect::<Vec<_>>()[..] else { panic!() };
            (id, Stored { status, cause })
        })
        .collect();
    check_rows(place);
    let lost: HashSet<_> =
        lines.iter().filter(|line| line[2] == "lost").map(|line| line[1]).collect();
    let (mut seen, mut attempts) = (Seen::default(), HashMap::new());
    seen.lost += lost.len();
    // When a run may not begin any more, and why.
    let mut over: HashMap<&str, (u128, String)> = HashMap::new();
    for line in &lines {
        let (at, pid, what, rest) =
            (line[0].parse::<u128>().unwrap(), line[1], line[2], &line[3..]);
        match (what, rest) {
            ("takes-over", _) => seen.taken_over += 1,
            ("submitted", [id]) => {
                seen.submitted += 1;
                assert!(stored.contains_key(id), "{id} was acknowledged, and is lost");
            }
            ("begins", [id]) => {
                seen.begun += 1;
                let all = attempts.entry(*id).or_insert_with(Vec::new);
                // What had begun before it was stopped may say so late. So may one that was frozen.
                let is_again = all.iter().any(|it: &Attempt<'_>| it.pid != pid);
                let is_late = frozen.get(pid).is_some_and(|since| *since < at);
                if let Some((since, why)) = over.get(id).filter(|_| is_again && !is_late) {
                    assert!(at < *since, "{id} goes on at {at}: {why} at {since}");
                }
                all.push(Attempt { pid, first: at, last: at, beats: Vec::new() });
            }
            ("beats" | "ends" | "leaves", [id]) => {
                let all: &mut Vec<Attempt<'_>> = attempts.get_mut(id).unwrap();
                let attempt = all.iter_mut().rfind(|it| it.pid == pid).unwrap();
                attempt.last = at;
                attempt.beats.extend((what == "beats").then_some(at));
            }
            ("stored", [id, status]) => {
                assert_eq!(stored[id].status, number(status), "{id} has ended {status}");
                over.entry(id).or_insert_with(|| (at, format!("it has ended {status}")));
            }
            ("told", [id, cause, told @ ..]) => {
                let told = told.join(" ");
                seen.stops += 1;
                seen.recorded += usize::from(told.starts_with("Recorded"));
                let of_run = &stored[id];
                check(id, &told, of_run.status);
                let is_its = *cause == UNTOLD || *cause == of_run.cause;
                assert!(is_its, "{id} was stopped by {}, and {cause} was told", of_run.cause);
                over.entry(id).or_insert_with(|| (at, told));
            }
            _ => {}
        }
    }
    seen.overlaps = check_overlaps(&attempts, &lines, &lost, frozen);
    seen
}

/// Checks what the tables say by themselves.
fn check_rows(place: &Place<'_>) {
    assert_eq!(place.sql("select count(*) from run where status < 3"), "0");
    assert_eq!(place.sql("select count(*) from stop where answer is null"), "0");
    let twice = "select id from chaos_end group by id having count(*) > 1";
    assert_eq!(place.sql(twice), "", "these have ended twice");
    assert_eq!(place.sql("select id from chaos_late"), "", "these were written by a former owner");
    let otherwise = "select s.run, s.answer, r.status from stop s join run r on r.id = s.run
        where s.answer::json ->> 'disposition' in ('accepted', 'already-stopping')
        and r.status <> 5";
    assert_eq!(place.sql(otherwise), "", "these have not ended as their stops were answered");
}

/// Checks that no two processes have executed a run at once, but for a moment if the machine did
/// not let one of them run. Yields how often that was so.
fn check_overlaps(
    attempts: &HashMap<&str, Vec<Attempt<'_>>>,
    lines: &[Vec<&str>],
    lost: &HashSet<&str>,
    frozen: &HashMap<String, u128>,
) -> usize {
    let (mut said, mut overlaps) = (HashMap::<&str, Vec<u128>>::new(), 0);
    for line in lines {
        said.entry(line[1]).or_default().push(line[0].parse().unwrap());
    }
    for all in said.values_mut() {
        all.sort_unstable();
    }
    for (id, all) in attempts {
        for (nth, next) in all.iter().enumerate() {
            for former in all[..nth].iter().filter(|it| it.pid != next.pid && it.last > next.first)
            {
                let since = frozen.get(former.pid);
                // A process that the machine did not let run is as one that is frozen.
                let did_not_run =
                    || lost.contains(former.pid) && was_silent(&said[former.pid], next.first);
                let may = since.map_or_else(did_not_run, |since| *since < next.first);
                assert!(may, "{id} was executed by {} and {} at once", former.pid, next.pid);
                // What it saves then is refused, and it ends.
                let late = former.beats.iter().filter(|at| **at > next.first).count();
                assert!(late <= 1, "{id} has gone on in {} {late} times", former.pid);
                overlaps += 1;
            }
        }
    }
    overlaps
}

/// Checks what a caller was told of a stop.
fn check(id: &str, told: &str, status: &str) {
    let is_right = if told.starts_with("AlreadyTerminal") {
        ["Completed", "Failed", "Cancelled", "TimedOut"]
            .iter()
            .any(|ended| told.contains(ended) && status == number(ended))
    } else if told.starts_with("Recorded") {
        true
    } else {
        let is_stop = told.starts_with("Accepted") || told.starts_with("AlreadyStopping");
        is_stop && status == number("Cancelled")
    };
    assert!(is_right, "{id} has ended as {status}, and its stop was told {told}");
}

/// The number of a status in the table.
fn number(status: &str) -> &'static str {
    match status {
        "Completed" => "3",
        "Failed" => "4",
        "Cancelled" => "5",
        "TimedOut" => "6",
        other => panic!("{other} is no end"),
    }
}

/// One run that has ended, and what is said of it: each fault is found, and nothing else is.
#[test]
fn the_judge_finds_whatever_is_not_so() {
    let place = Place::shared();
    let node = crate::fixture::block_on(crate::crew::join(&place, "a"));
    watch(&place);
    let run = quell_core::RunId::from_text("run");
    let report = r#"{"cause": {"message": "why"}}"#;
    place.sql(&format!(
        "insert into run (id, node, epoch, kind, name, at, bytes, status, report)
        values ('{run}', 'a', 1, 'agent', 'run', 1, 0, 5, '{report}')"
    ));
    let file = std::env::temp_dir().join(format!("quell-judge-{}", std::process::id()));
    let finds = |said: &[&str], frozen: &[(&str, u128)]| {
        let said: Vec<_> = said.iter().map(|line| line.replace("RUN", &run.to_string())).collect();
        std::fs::write(&file, said.join("\n")).unwrap();
        let frozen = frozen.iter().map(|(pid, at)| ((*pid).to_owned(), *at)).collect();
        std::panic::catch_unwind(|| judge(&place, &file, &frozen)).is_err()
    };
    let twice = ["1 7 begins RUN", "5 7 beats RUN", "3 8 begins RUN"];
    assert!(!finds(
        &["1 7 submitted RUN", "2 7 stored RUN Cancelled", "3 7 told RUN why Accepted"],
        &[]
    ));
    assert!(finds(&["1 7 told RUN else Accepted"], &[]), "it has another cause");
    assert!(!finds(&twice, &[("7", 2)]), "it was frozen before the other one began");
    assert!(finds(&twice, &[("7", 4)]) && finds(&twice, &[]), "two execute it at once");
    let goes_on = [&twice[..], &["6 7 beats RUN"]].concat();
    assert!(finds(&goes_on, &[("7", 2)]), "what was frozen goes on for ever");
    let lost = [&twice[..], &["6 7 lost"]].concat();
    assert!(finds(&lost, &[]), "it was taken over from while it was running");
    let starved = ["1 7 begins RUN", "2000000003 7 beats RUN", "2000000001 8 begins RUN"];
    assert!(!finds(&[&starved[..], &["2000000004 7 lost"]].concat(), &[]), "it did not run");
    assert!(finds(&["1 7 submitted 00000000-0000-0000-0000-000000000000"], &[]), "it is lost");
    assert!(finds(&["1 7 stored RUN Completed"], &[]), "it has ended otherwise");
    assert!(finds(&["1 7 told RUN - Unknown"], &[]), "it is known");
    assert!(
        finds(&["1 7 told RUN - AlreadyTerminal { status: Failed }"], &[]),
        "it has not failed"
    );
    let again = ["1 7 begins RUN", "2 8 told RUN - Recorded", "3 8 begins RUN"];
    assert!(finds(&again, &[]), "it goes on after its stop");
    place.sql("update run set status = 4");
    assert!(finds(&["1 7 told RUN why Accepted"], &[]), "the stop is lost");
    assert!(!finds(&[], &[]), "it has ended once that was seen");
    place.sql(&format!(
        "insert into stop (ask, run, owner, channel, request, at, answer) values
        (gen_random_uuid(), '{run}', 'a', '', '', 1, '{{\"disposition\": \"accepted\"}}')"
    ));
    assert!(finds(&[], &[]), "the stop that was answered is lost");
    place.sql("delete from stop");
    place.sql("update run set status = 5");
    assert!(finds(&[], &[]), "it has ended twice");
    place.sql("delete from chaos_end; update run set epoch = 0");
    assert!(finds(&[], &[]), "a former owner has written");
    let state = "insert into checkpoint (lane, run, epoch, at, state) select '', ord, 0, 1, '1'";
    place.sql(&format!("delete from chaos_late; {state} from run"));
    assert!(finds(&[], &[]), "a former owner has saved something");
    place.sql("delete from chaos_late; update run set status = 1");
    assert!(finds(&[], &[]), "it has not ended");
    std::fs::remove_file(&file).unwrap();
    crate::fixture::block_on(quell_core::store::Store::close(&*node)).unwrap();
}
