//! A rollback of `LangGraph` that was acknowledged, and a `quell` that is killed before the run is
//! deleted: the next one has no trace of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use quell::store::{Accepted, Epoch, Record, StopAccepted, Store as _, StoredHold};
use quell::{
    Abandoned, Cause, CauseKind, Counts, RunId, RunKind, RunReport, RunRow, RunStatus, StopMode,
    Work,
};
use quell_sqlite::SqliteStore;
use serde_json::{Value, json};

use crate::site::Site;
use crate::support::{Scratch, wait_until};

/// Writes its name to the witness, and ends at once if it takes no time. Otherwise it works until
/// it is told to end, and takes so many seconds for that.
const PROGRAM: &str = r#"
[agents.it]
grace = '30s'
run = ['sh', '-c', """
input=$(cat)
of() { echo "$input" | sed "s/.*\\"$1\\":\\"\\([^\\"]*\\)\\".*/\\1/"; }
name=$(of name) takes=$(of takes)
echo "$name" >> ran
test "$takes" = 0 && exit
trap 'sleep "$takes"; exit' TERM
echo $$ > "pid-$name"
while :; do sleep 0.01; done"""]
"#;

const ARGS: [&str; 4] = ["--config", "quell.toml", "--store", "runs.db"];

/// The ways to ask for a rollback.
const WAYS: [&str; 3] = ["cancel", "bulk", "strategy"];

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().expect(key)
}

fn create(site: &Site, thread: &str, name: &str, takes: &str, strategy: &str) -> Value {
    let body = json!({ "assistant_id": "it", "input": { "name": name, "takes": takes },
        "multitask_strategy": strategy });
    let (status, run) = site.post(&format!("/threads/{thread}/runs"), &body);
    assert_eq!(status, 200, "{run}");
    run
}

/// Has a thread with a run that completed, and yields its id with that of the run.
fn thread_with_a_run(site: &Site, name: &str) -> (String, String) {
    let (_, thread) = site.post("/threads", &json!({}));
    let thread = text(&thread, "thread_id").to_owned();
    let run = create(site, &thread, name, "0", "enqueue");
    let run = text(&run, "run_id").to_owned();
    site.get(&format!("/threads/{thread}/runs/{run}/join"));
    let status = || site.get(&format!("/threads/{thread}/runs/{run}")).1["status"].clone();
    wait_until("it has completed", || status() == "success");
    (thread, run)
}

fn ran(site: &Site, name: &str) -> usize {
    let all = String::from_utf8(site.scratch.read("ran")).expect("text");
    all.lines().filter(|line| *line == name).count()
}

/// Asks for a rollback of a run in one of the ways; yields the id of the run that was made for
/// that, if one was.
fn roll_back(site: &Site, way: &str, (thread, run): (&str, &str), name: &str) -> Option<String> {
    let (status, answer) = match way {
        "cancel" => {
            let path = format!("/threads/{thread}/runs/{run}/cancel?action=rollback");
            site.post(&path, &Value::Null)
        }
        "bulk" => {
            let body = json!({ "thread_id": thread, "run_ids": [run] });
            site.post("/runs/cancel?action=rollback", &body)
        }
        _ => {
            let new = create(site, thread, &format!("new-{name}"), "0", "rollback");
            return Some(text(&new, "run_id").to_owned());
        }
    };
    assert!((200..300).contains(&status), "{way}: {status} {answer}");
    None
}

/// Asserts that nobody finds a run that was rolled back, and that these are the runs of its thread.
#[track_caller]
fn assert_gone(site: &Site, (thread, run): (&str, &str), left: &[&str]) {
    let path = format!("/threads/{thread}/runs/{run}");
    assert_eq!(site.get(&path).0, 404);
    assert_eq!(site.get(&format!("/v1/runs/{run}")).0, 404);
    let joined = site.get(&format!("{path}/join")).1;
    assert_eq!(joined["__error__"]["message"], "404: Run not found", "{joined}");
    let listed = site.get(&format!("/threads/{thread}/runs")).1;
    let ids: Vec<_> = listed.as_array().expect("a list").iter().map(|row| &row["run_id"]).collect();
    assert_eq!(ids, left, "{listed}");
    let ids = json!({ "thread_id": thread, "run_ids": [run] });
    let (status, told) = site.post("/runs/cancel?action=rollback", &ids);
    assert_eq!((status, &told["detail"]), (404, &json!("No runs found to cancel.")));
    let stored = site.scratch.run(&["runs", "--store", "runs.db", "--json"]).stdout;
    assert!(!stored.contains(run), "{stored}");
}

#[test]
fn i36_a_rollback_that_was_acknowledged_outlives_a_kill_before_the_run_is_deleted() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", PROGRAM);
    let mut site = Site::with(scratch, &ARGS);
    // The first of each way is killed while the program takes its time, the others at some moment.
    for (nth, takes) in ["100", "0.001", "0.02"].into_iter().enumerate() {
        let name = |what: &str, way: &str| format!("{what}-{way}-{nth}");
        let mut gone = Vec::new();
        for way in WAYS {
            let (thread, first) = thread_with_a_run(&site, &name("first", way));
            let run = create(&site, &thread, &name("run", way), takes, "enqueue");
            let pid = format!("pid-{}", name("run", way));
            wait_until("its program works", || !site.scratch.read(&pid).is_empty());
            let run = text(&run, "run_id").to_owned();
            // It is pending: nothing of it has run, nor will.
            let behind = create(&site, &thread, &name("behind", way), "0", "enqueue");
            let behind = text(&behind, "run_id").to_owned();
            gone.push((way, thread, first, run, behind));
        }
        let mut news = Vec::new();
        for (way, thread, _, run, behind) in &gone {
            if *way != "strategy" {
                roll_back(&site, way, (thread, behind), "");
            }
            news.push(roll_back(&site, way, (thread, run), &name("run", way)));
        }
        thread::sleep(Duration::from_millis(3 * nth as u64));
        site.signal("KILL");
        site = Site::with(site.ended().1, &ARGS);
        for ((way, thread, first, run, behind), new) in gone.iter().zip(&news) {
            let left: Vec<_> = new.as_deref().into_iter().chain([&**first]).collect();
            assert_gone(&site, (thread, run), &left);
            assert_gone(&site, (thread, behind), &left);
            let ran = ["first", "run", "behind"].map(|what| ran(&site, &name(what, way)));
            assert_eq!(ran, [1, 1, 0], "{way} {nth}: what was rolled back never runs again");
        }
    }
}

/// Makes what a process leaves that had rolled a run back and ended it, with this work of it left.
fn ended_with(name: &str, epoch: Epoch, left: &[Work]) -> Vec<Record> {
    let (run, at) = (RunId::from_text(name), SystemTime::now());
    let accepted = Accepted::new(run, RunKind::Agent, name.into(), epoch, at);
    let cause = Arc::new(Cause::new(CauseKind::UserRequest, at, run));
    let mut stop = StopAccepted::new(run, epoch, StopMode::Cooperative, Arc::clone(&cause));
    stop.rollback = true;
    let mut row = RunRow::new(run, RunKind::Agent, name.into(), RunStatus::Cancelled, at);
    (row.stopped_at, row.ended_at, row.cause) = (Some(at), Some(at), Some(cause));
    row.abandoned = left.iter().map(|what| Abandoned::new(run, "left".into(), *what)).collect();
    let report = Arc::new(RunReport::new(vec![row], Counts::default()));
    let outlives = left.iter().filter(|what| matches!(what, Work::Process | Work::Remote));
    let holds = outlives.zip(0..).map(|(what, nr)| {
        let hold = StoredHold::new(nr, *what, "left".into());
        Record::HoldBegan { run, epoch, hold }
    });
    let stopped = [Record::Accepted(accepted.into()), Record::StopAccepted(stop.into())];
    let end = Record::Ended { run, epoch, report, rollback: true };
    stopped.into_iter().chain(holds).chain([end]).collect()
}

#[test]
fn i36_what_was_rolled_back_stays_only_while_something_of_it_may_execute() {
    let scratch = Scratch::new();
    let file = scratch.path("runs.db");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let store = SqliteStore::open(&file).expect("a store");
        let epoch = Epoch::new(store.boot(), 1);
        let mut records = ended_with("blocked", epoch, &[Work::Blocking, Work::Process]);
        records.extend(ended_with("elsewhere", epoch, &[Work::Process, Work::Remote]));
        // One below it is live, and cannot be read.
        records.extend(ended_with("damaged", epoch, &[Work::Process]));
        let (below, root) = (RunId::from_text("below"), RunId::from_text("damaged"));
        let at = SystemTime::now();
        let mut accepted = Accepted::new(below, RunKind::Step, "below".into(), epoch, at);
        (accepted.root, accepted.parent) = (root, Some(root));
        let place = records.iter().rposition(|it| matches!(it, Record::Accepted(_))).unwrap();
        records.insert(place + 1, Record::Accepted(accepted.into()));
        store.append(records).await.expect("they are stored");
        store.close().await.expect("it closes");
    });
    let on = rusqlite::Connection::open(&file).expect("the file");
    on.execute("update run set kind = 'swarm' where name = 'below'", []).expect("it is damaged");
    drop(on);
    scratch.write("quell.toml", PROGRAM);
    let names = |site: &Site| {
        let stored = site.scratch.run(&["runs", "--store", "runs.db", "--json"]).stdout;
        let rows = stored.lines().map(|row| serde_json::from_str::<Value>(row).expect("JSON"));
        rows.map(|row| (text(&row, "name").to_owned(), text(&row, "status").to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    let left = |names: &[&str]| -> BTreeMap<_, _> {
        names.iter().map(|name| ((*name).to_owned(), "cancelled".to_owned())).collect()
    };
    // Nothing tells of the programs: there was no server with a guardian.
    let site = Site::with(scratch, &ARGS);
    assert_eq!(names(&site), left(&["blocked", "damaged", "elsewhere"]));
    site.signal("TERM");
    let (_, scratch) = site.ended();
    scratch.write("runs.db.guard", "process 1\nbegun 1\nended 1\n");
    let site = Site::with(scratch, &ARGS);
    assert_eq!(names(&site), left(&["damaged", "elsewhere"]));
}
