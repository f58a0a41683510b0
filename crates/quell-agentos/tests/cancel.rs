//! What cancels a run, and what remains of it.

use std::sync::Arc;
use std::time::Duration;

use quell::{Engine, Payload, RunContext};
use quell_agentos::{Options, UnknownRuns};
use quell_demo::{Record, Witness};
use quell_flow::{Catalog, Component};
use quell_http::Access;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::http::{Events, KINDS, names, read, refused, start};
use crate::support::{Site, fresh};

/// How many bodies tick in the component with this prefix.
fn bodies(prefix: &str) -> usize {
    match prefix {
        "Run" => 1,
        "TeamRun" => 3,
        _ => 4,
    }
}

#[tokio::test]
async fn every_kind_is_cancelled_and_its_work_stops() {
    let site = Site::open();
    for (path, prefix, id_key) in KINDS {
        let probe = fresh("probe");
        let run = start(&site, path, &format!("probe={probe}"), "s").await;
        site.at_work(&probe, bodies(prefix)).await;
        let live = read(&site, path, &run, "s").await;
        assert_eq!((&live["status"], &live["events"]), (&json!("RUNNING"), &json!([])));
        let answer = site.post(&format!("{path}/runs/{run}/cancel?wait=quiescent")).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({})));
        assert_eq!(answer.header("quell-disposition"), "accepted");
        assert_eq!(answer.header("quell-cause"), "user-request");
        assert_eq!(answer.header("quell-quiescent"), "true");
        let (ticks, marks) = site.witness.get(&probe);
        assert!(!ticks.is_empty() && marks.iter().any(|mark| mark.ends_with(":dropped")));
        let over = read(&site, path, &run, "s").await;
        assert_eq!(over["status"], "CANCELLED", "{prefix}");
        assert_eq!(over["cancellation_stage"], "EXECUTING");
        assert_eq!(over["quell"]["cause"]["kind"], "user-request");
        assert_eq!(over["quell"]["cause"]["origin"], run.as_str());
        assert!(over[id_key].is_string());
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(site.witness.get(&probe).0, ticks, "nothing ticks after quiescence");
        let again = site.post(&format!("{path}/runs/{run}/cancel")).await;
        assert_eq!(again.header("quell-disposition"), "already-terminal");
    }
}

/// agno #4786, #5923, #7730, #7731: a cancel of a team does not reach its members there.
#[tokio::test]
async fn a_cancelled_stream_ends_with_one_terminal_event_after_its_children() {
    let site = Site::open();
    for (path, prefix, _) in KINDS {
        let (run, probe) = (fresh("run"), fresh("probe"));
        let message = format!("tick_ms=5 probe={probe}");
        let fields = [("message", message.as_str()), ("run_id", run.as_str())];
        let create = format!("{path}/runs");
        let cancel = async {
            site.at_work(&probe, bodies(prefix)).await;
            site.post(&format!("{path}/runs/{run}/cancel")).await
        };
        let (stream, cancel) = tokio::join!(site.create(&create, &fields), cancel);
        assert_eq!(cancel.header("quell-disposition"), "accepted");
        let events = stream.events();
        let seen = names(&events);
        let terminal = format!("{prefix}Cancelled");
        assert_eq!(seen.last(), Some(&terminal.as_str()));
        let own: Vec<_> = events.iter().filter(|event| event["run_id"] == run.as_str()).collect();
        let ends = |event: &&&Value| event["event"].as_str().unwrap() == terminal;
        assert_eq!(own.iter().filter(ends).count(), 1);
        assert!(!seen.contains(&format!("{prefix}Completed").as_str()));
        let last = events.last().unwrap();
        assert_eq!(last["reason"], format!("Run {run} was cancelled"));
        assert_eq!(last["quell"]["status"], "cancelled");
        let children = seen.iter().filter(|name| **name == "RunCancelled").count();
        let steps = seen.iter().filter(|name| **name == "StepError").count();
        let expected = match prefix {
            "Run" => (1, 0),
            "TeamRun" => (3, 0),
            _ => (4, 4),
        };
        assert_eq!((children, steps), expected);
    }
}

#[tokio::test]
async fn the_sentinel_and_the_brackets_are_options() {
    let mut options = Options::default();
    (options.completed_sentinel, options.close_brackets) = (true, false);
    let site = Site::new(options, Access::open());
    let path = "/workflows/slow-workflow/runs";
    let create = site.create(path, &[("message", "tick_ms=5 probe=p"), ("run_id", "w")]);
    let cancel = async {
        site.at_work("p", 4).await;
        site.post(&format!("{path}/w/cancel")).await
    };
    let (stream, _) = tokio::join!(create, cancel);
    let events = stream.events();
    let seen = names(&events);
    assert_eq!(seen[seen.len() - 2..], ["WorkflowCancelled", "WorkflowCompleted"]);
    let count = |name: &str| seen.iter().filter(|seen| **seen == name).count();
    assert_eq!((count("RunCancelled"), count("RunCompleted"), count("StepError")), (4, 4, 0));
}

/// No issue of agno: a cancel through any component that there is works there.
#[tokio::test]
async fn a_run_is_reached_only_through_its_component_and_session() {
    let site = Site::open();
    let run = start(&site, "/agents/slow-agent", "m", "s1").await;
    for path in [
        format!("/agents/silent-agent/runs/{run}/cancel"),
        format!("/teams/slow-team/runs/{run}/cancel"),
        format!("/agents/slow-agent/runs/{run}/cancel?session_id=s2"),
    ] {
        assert_eq!(site.post(&path).await.header("quell-disposition"), "unknown", "{path}");
    }
    for query in [
        format!("/agents/slow-agent/runs/{run}?session_id=s2"),
        "/agents/slow-agent/runs/nope?session_id=s1".into(),
    ] {
        refused(&site.get(&query).await, 404, "Run not found", Some("NOT_FOUND"));
    }
    assert_eq!(read(&site, "/agents/slow-agent", &run, "s1").await["status"], "RUNNING");
    let path = format!("/agents/slow-agent/runs/{run}/cancel/?session_id=s1&wait=true");
    let answer = site.post(&path).await;
    assert_eq!(answer.header("quell-disposition"), "accepted");
    assert_eq!(read(&site, "/agents/slow-agent", &run, "s1").await["status"], "CANCELLED");
}

/// No issue of agno: a cancel of one member ends its team there.
#[tokio::test]
async fn one_member_is_cancelled_and_the_others_finish() {
    let site = Site::open();
    let path = "/teams/slow-team";
    let run = start(&site, path, "ticks=20 tick_ms=10 probe=p", "s").await;
    site.at_work("p", 3).await;
    let live = read(&site, path, &run, "s").await;
    let member = live["member_responses"][1]["run_id"].as_str().unwrap().to_owned();
    let answer = site.post(&format!("{path}/runs/{member}/cancel")).await;
    assert_eq!(answer.header("quell-disposition"), "accepted");
    refused(
        &site.post(&format!("/agents/member-2/runs/{member}/cancel")).await,
        404,
        "Agent not found",
        Some("NOT_FOUND"),
    );
    let team = loop {
        let team = read(&site, path, &run, "s").await;
        if team["status"] != "RUNNING" {
            break team;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!((&team["status"], &team["content"]), (&json!("COMPLETED"), &json!("done")));
    let statuses: Vec<_> =
        team["member_responses"].as_array().unwrap().iter().map(|run| &run["status"]).collect();
    assert_eq!(statuses, ["COMPLETED", "CANCELLED", "COMPLETED"]);
}

/// agno #10474: the leader answers once more there. PR #8331: the tool call stays open.
#[tokio::test]
async fn a_cancelled_team_closes_its_tool_call_and_its_leader_speaks_no_more() {
    let site = Site::open();
    let path = "/teams/slow-team/runs";
    let create = site.create(path, &[("message", "tick_ms=5 probe=p"), ("run_id", "t")]);
    let cancel = async {
        site.at_work("p", 3).await;
        site.post(&format!("{path}/t/cancel")).await
    };
    let (stream, _) = tokio::join!(create, cancel);
    let events = stream.events();
    let seen = names(&events);
    let expected =
        ["RunCancelled", "RunCancelled", "RunCancelled", "TeamToolCallError", "TeamRunCancelled"];
    assert_eq!(seen[seen.len() - 5..], expected);
    let closed = &events[events.len() - 2];
    assert_eq!(
        (&closed["error"], &closed["tool"]["tool_call_error"]),
        (&json!("cancelled"), &json!(true))
    );
    let said: String =
        events[..events.len() - 5].iter().filter_map(|e| e["content"].as_str()).collect();
    assert!(!said.contains("done") && events.last().unwrap()["content"] != "done");
}

#[tokio::test]
async fn a_member_that_is_cancelled_alone_hands_over_what_it_had() {
    let site = Site::open();
    let path = "/teams/slow-team";
    let run = start(&site, path, "ticks=20 tick_ms=10 probe=p", "s").await;
    site.at_work("p", 3).await;
    let live = read(&site, path, &run, "s").await;
    let member = live["member_responses"][0]["run_id"].as_str().unwrap().to_owned();
    site.post(&format!("{path}/runs/{member}/cancel?wait=true")).await;
    while read(&site, path, &run, "s").await["status"] == "RUNNING" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let team = read(&site, path, &run, "s").await;
    let results: Value =
        serde_json::from_str(team["tools"][0]["result"].as_str().unwrap()).unwrap();
    assert_eq!(results["member-1"], team["member_responses"][0]["content"]);
    assert!(results["member-1"].as_str().unwrap().starts_with("t0 "));
}

#[tokio::test]
async fn a_remembered_stop_ends_the_run_to_come_before_it_starts() {
    let mut options = Options::default();
    options.unknown_runs = UnknownRuns::Remember;
    let site = Site::new(options, Access::open());
    for (path, prefix, _) in KINDS {
        let (run, probe) = (fresh("run"), fresh("probe"));
        let answer = site.post(&format!("{path}/runs/{run}/cancel")).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({})));
        assert_eq!(answer.header("quell-disposition"), "reserved");
        let message = format!("probe={probe}");
        let fields = [("message", message.as_str()), ("run_id", &run), ("session_id", "s")];
        let events = site.create(&format!("{path}/runs"), &fields).await.events();
        assert_eq!(names(&events), [format!("{prefix}Started"), format!("{prefix}Cancelled")]);
        assert_eq!(read(&site, path, &run, "s").await["cancellation_stage"], "PENDING");
        assert!(site.witness.get(&probe).1.is_empty());
        assert_eq!(site.create(&format!("{path}/runs"), &fields).await.status, 409);
        let answer = site.post(&format!("{path}/runs/{run}/cancel")).await;
        assert_eq!(answer.header("quell-disposition"), "already-terminal");
    }
    let run = start(&site, "/agents/slow-agent", "m", "s").await;
    let answer = site.post(&format!("/teams/slow-team/runs/{run}/cancel")).await;
    assert_eq!((answer.status.as_u16(), answer.header("quell-disposition")), (200, "unknown"));
    assert_eq!(read(&site, "/agents/slow-agent", &run, "s").await["status"], "RUNNING");
}

#[tokio::test]
async fn an_agent_that_listens_is_running_until_it_has_given_way() {
    let (witness, way) = (Witness::default(), Arc::new(Notify::new()));
    let (theirs, given) = (witness.clone(), Arc::clone(&way));
    let polite = Component::agent("polite", move |ctx: RunContext, _input: Payload| {
        let (witness, given) = (theirs.clone(), Arc::clone(&given));
        async move {
            let record = Record::start(&witness, Some("p".into()), "polite");
            record.tick();
            ctx.stopped().await;
            record.see_stop();
            given.notified().await;
            record.finish();
            Ok(Payload::from("late"))
        }
    });
    let catalog = Catalog::new().with(polite);
    let site = Site::made_of(witness, catalog, Engine::new(), Options::default(), Access::open());
    let path = "/agents/polite";
    let run = start(&site, path, "m", "s").await;
    site.at_work("p", 1).await;
    let answer = site.post(&format!("{path}/runs/{run}/cancel")).await;
    assert_eq!(answer.header("quell-disposition"), "accepted");
    assert_eq!(read(&site, path, &run, "s").await["status"], "RUNNING");
    way.notify_one();
    site.post(&format!("{path}/runs/{run}/cancel?wait=true")).await;
    let over = read(&site, path, &run, "s").await;
    assert_eq!((&over["status"], &over["quell"]["quiescent"]), (&json!("CANCELLED"), &json!(true)));
    assert_ne!(over["content"], "late");
    assert_eq!(site.witness.get("p").1, ["polite:start", "polite:stop-seen", "polite:done"]);
}
