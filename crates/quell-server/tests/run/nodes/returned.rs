//! Servers that come back, and what the runs that others have taken over learn by that: real
//! programs are the witnesses.

use std::fs::File;
use std::thread;

use quell_test_support::PostgresServer;
use serde_json::json;

use super::{Cluster, end, has_ended, shown, start};
use crate::guard::guardian_of;
use crate::site::Site;
use crate::support::{Running, is_alive, send, wait_until};

/// What a server has left that was killed: its program goes on, and its guardian has not heard yet
/// that it is gone.
struct Left {
    a: Site,
    program: u32,
    guardian: u32,
    /// Until this is closed, the guardian hears nothing.
    news: File,
}

/// Has a server be killed whose run has a program, and another one end the run.
fn lose(cluster: &Cluster<'_>, b: &Site) -> Left {
    let a = cluster.join("a", "8s");
    start(&a, "agent/slow", "lost");
    cluster.work(1);
    let guardian = guardian_of(a.pid());
    let pipe = format!("/proc/{guardian}/fd/0");
    let news = File::options().write(true).open(pipe).expect("it is a pipe");
    a.signal("KILL");
    let lost = shown(b, "lost", "it is decided", has_ended);
    assert_eq!((&lost["status"], &lost["quiescent"]), (&json!("failed"), &json!(false)), "{lost}");
    let program = cluster.witness.pids()[0];
    assert!(is_alive(program), "it is the case that is meant");
    Left { a, program, guardian, news }
}

/// Starts a server `a` again, with what the guardians of the one before hold.
fn again(cluster: &Cluster<'_>, a: &Site) -> Site {
    let (url, folder) = (cluster.url(), a.scratch.path("").display().to_string());
    let args = ["--store-env", "RUNS", "--node", "a", "--log-format", "human"];
    Site::with_env(cluster.scratch("8s"), &args, &[("RUNS", &url), ("TMPDIR", &folder)])
}

#[track_caller]
fn assert_not_quiescent(b: &Site) {
    let run = b.get("/v1/runs/lost").1;
    assert_eq!((&run["status"], &run["quiescent"]), (&json!("failed"), &json!(false)), "{run}");
}

#[test]
fn i4_a_run_of_a_killed_server_is_quiescent_once_that_is_back_and_its_program_has_ended() {
    let cluster = Cluster::shared();
    let b = cluster.join("b", "8s");
    let Left { a, program, news, .. } = lose(&cluster, &b);
    let again = thread::scope(|scope| {
        let again = scope.spawn(|| again(&cluster, &a));
        // It is a node again, and waits for the guardian.
        let left = || cluster.sql("select string_agg(what, ',') from hold");
        wait_until("its process is named no more", || left() == "process");
        assert!(is_alive(program));
        assert_not_quiescent(&b);
        drop(news);
        again.join().expect("it starts")
    });
    let after = shown(&b, "lost", "it is quiescent", |run| run["quiescent"] == true);
    assert!(!is_alive(program), "{after}");
    assert_eq!(after["status"], "failed", "{after}");
    let log = b.log("lost");
    let quiesced = log.iter().filter(|(event, _)| event == "quiesced").count();
    assert_eq!((quiesced, &*log.last().expect("a log").0), (1, "quiesced"), "{log:?}");
    end(again);
    end(b);
    drop(a.ended());
}

#[test]
fn i4_a_run_of_which_no_guardian_knows_stays_in_doubt_however_often_its_server_comes_back() {
    let cluster = Cluster::shared();
    let b = cluster.join("b", "8s");
    let Left { a, program, guardian, news } = lose(&cluster, &b);
    send("KILL", guardian);
    wait_until("it is dead", || !is_alive(guardian));
    drop(news);
    // The second one has nothing in doubt itself.
    for _ in 0..2 {
        let again = again(&cluster, &a);
        assert_eq!(cluster.sql("select what, fate from hold where what = 'process'"), "process|2");
        end(again);
    }
    assert!(is_alive(program), "it is the case that is meant");
    assert_not_quiescent(&b);
    send("KILL", program);
    wait_until("it is dead", || !is_alive(program));
    end(b);
    drop(a.ended());
}

#[test]
fn what_a_server_that_is_back_knows_of_programs_it_says_until_the_database_takes_it() {
    let cluster = Cluster::shared();
    let b = cluster.join("b", "8s");
    let Left { a, program, news, .. } = lose(&cluster, &b);
    cluster.sql(
        "create function public.refused() returns trigger language plpgsql as
            $$begin raise exception 'not today'; end$$;
        create trigger refused before update on hold for each row when (new.what = 'process')
            execute function public.refused()",
    );
    drop(news);
    wait_until("its guardian ends it", || !is_alive(program));
    let again = again(&cluster, &a);
    let left = || cluster.sql("select string_agg(what, ',') from hold");
    wait_until("its process is named no more", || left() == "process");
    assert_not_quiescent(&b);
    cluster.sql("drop trigger refused on hold");
    shown(&b, "lost", "it is quiescent", |run| run["quiescent"] == true);
    let said = end(again);
    assert!(said.contains("what is known of earlier programs cannot be told"), "{said}");
    end(b);
    drop(a.ended());
}

#[test]
fn a_server_that_is_back_knows_nothing_of_what_another_had_begun_whose_run_it_has() {
    let cluster = Cluster::shared();
    let a = cluster.join("a", "1h");
    start(&a, "agent/slow", "lost");
    cluster.work(1);
    // As one had it that is back by now, and of which no guardian knew.
    cluster.sql(
        "insert into hold (run, nr, what, name, member, boot, fate)
        select ord, 7, 'process', 'far', 'b', 1, 2 from run",
    );
    a.signal("KILL");
    let a = cluster.join_in(a.ended().1, "a");
    let run = shown(&a, "lost", "it is decided", has_ended);
    assert_eq!((&run["quiescent"], &run["abandoned"]), (&json!(false), &json!(["far"])), "{run}");
    end(a);
}

#[test]
fn a_server_whose_database_goes_while_its_guardian_is_waited_for_may_be_started_again() {
    let server = PostgresServer::start(&[]);
    let cluster = Cluster::on(&server);
    let b = cluster.join("b", "8s");
    let Left { a, program, news, .. } = lose(&cluster, &b);
    let (scratch, folder) = (cluster.scratch("8s"), a.scratch.path("").display().to_string());
    let args = ["serve", "--listen", "127.0.0.1:0", "--store-env", "RUNS", "--node", "a"];
    let mut command = scratch.quell(&args);
    command.envs([("RUNS", cluster.url()), ("TMPDIR", folder)]);
    let again = Running::start(command);
    let left = || cluster.sql("select string_agg(what, ',') from hold");
    wait_until("its process is named no more", || left() == "process");
    server.stop_at_once();
    drop(news);
    let ended = again.ended();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(!is_alive(program), "its guardian has ended it");
    b.signal("KILL");
    drop((a.ended(), b.ended()));
}
