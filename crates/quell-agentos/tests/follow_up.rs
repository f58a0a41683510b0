//! Runs that go on from ended ones (contract, section 7).

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use quell::store::MemoryStore;
use quell::{Engine, RunFilter, Shutdown};
use quell_http::{Access, Key};
use quell_test_support::{Answer, Valve};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::sessions::ran;
use crate::support::Site;
use crate::support::http::{Events as _, names, post_form, refused};
use crate::support::talkers::{Heard, TALKERS, begun, nodes, open, process, said};

/// The kinds that are served so: their paths, the prefix of their events, the field of an answer.
const KINDS: [(&str, &str, &str); 2] =
    [("/agents/talker", "Run", "tools"), ("/teams/talker", "TeamRun", "requirements")];

const JSON: [(&str, &str); 1] = [("stream", "false")];

async fn go_on(site: &Site, path: &str, run: &str, fields: &[(&str, &str)]) -> Answer {
    site.create(&format!("{path}/runs/{run}/continue"), fields).await
}

/// Continues a run in the foreground, and yields the new one.
async fn followed(site: &Site, path: &str, run: &str, input: &str) -> Value {
    let answer = go_on(site, path, run, &[&JSON[..], &[("input", input)]].concat()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

async fn read(site: &Site, path: &str, run: &str) -> Value {
    site.get(&format!("{path}/runs/{run}?session_id=s")).await.json()
}

/// Yields the faults of a refused form, each as its field and its words.
fn faults(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, 422, "{answer:?}");
    let detail = answer.json()["detail"].as_array().unwrap().clone();
    let text = |it: &Value| it.as_str().unwrap().to_owned();
    detail.iter().map(|it| (text(&it["loc"][1]), text(&it["msg"]))).collect()
}

#[tokio::test]
async fn an_ended_run_is_followed_by_another_one_however_it_has_ended() {
    let (site, heard) = open();
    for (path, _, _) in KINDS {
        let before = ran(&site, path, "before", "s").await;
        let done = ran(&site, path, "done", "s").await;
        let failed = ran(&site, path, "say and fail", "s").await;
        let stopped = begun(&site, path, "wait", "s").await;
        site.post(&format!("{path}/runs/{stopped}/cancel?wait=true")).await;
        ran(&site, path, "later", "s").await;
        let text = |who: &str, it: &str| vec![(who.to_owned(), it.to_owned())];
        let cut = |asked: &str| [text("user", asked), text("assistant", "so far")].concat();
        for (run, last) in [
            (&done, said(&["before", "done"])),
            (&failed, [said(&["before", "done"]), cut("say and fail")].concat()),
            (&stopped, [said(&["before", "done"]), cut("wait")].concat()),
            (&before, said(&["before"])),
        ] {
            let original = read(&site, path, run).await;
            let new = followed(&site, path, run, "go on").await;
            assert_eq!(heard.history(), last, "it ends with the run that is continued: {path}");
            assert_eq!(heard.last()["message"], "go on");
            let id = new["run_id"].as_str().unwrap();
            assert_ne!(id, run);
            assert_eq!(
                (&new["status"], &new["content"]),
                (&json!("COMPLETED"), &json!("re: go on"))
            );
            assert_eq!(
                (&new["session_id"], &new["forked_from_run_id"]),
                (&json!("s"), &json!(run))
            );
            assert_eq!(read(&site, path, id).await, new);
            assert_eq!(read(&site, path, run).await, original, "it is unchanged");
            assert_eq!(original.get("forked_from_run_id"), None);
            // What goes on from that has nothing of what was said in between.
            let mut line = [&last[..], &said(&["go on"])].concat();
            followed(&site, path, id, "further").await;
            assert_eq!(heard.history(), line.split_off(line.len().saturating_sub(6)), "{path}");
            let shown = site.get(&format!("/sessions/s/runs/{id}")).await.json();
            assert_eq!(
                (&shown["forked_from_run_id"], &shown["run_input"]),
                (&json!(run), &json!("go on"))
            );
            let shown = site.get(&format!("/sessions/s/runs/{run}")).await.json();
            assert_eq!(shown["forked_from_run_id"], Value::Null);
        }
        site.send(Request::delete("/sessions/s").body(Body::empty()).unwrap()).await;
    }
    // A component that declares no history gets the message alone, as ever.
    let run = ran(&site, "/agents/goldfish", "hi", "s").await;
    followed(&site, "/agents/goldfish", &run, "go on").await;
    assert_eq!(heard.last(), json!("go on"));
}

#[tokio::test]
async fn it_is_streamed_left_in_the_background_and_repeated_as_every_run_is() {
    let (site, heard) = open();
    for (path, prefix, field) in KINDS {
        let run = ran(&site, path, "one", "s").await;
        let streamed = go_on(&site, path, &run, &[("input", "two"), (field, "[]")]).await.events();
        assert_eq!(
            names(&streamed),
            ["Started", "ContentCompleted", "Completed"].map(|end| format!("{prefix}{end}"))
        );
        let second = streamed[0]["run_id"].as_str().unwrap();
        assert_eq!(read(&site, path, second).await["forked_from_run_id"], *run);

        let background = [("input", "three"), ("stream", "false"), ("background", "true")];
        let send = async |run: &str, key: &str, fields: &[(&str, &str)]| {
            let mut request = post_form(&format!("{path}/runs/{run}/continue"), fields);
            request.headers_mut().insert("idempotency-key", key.parse().unwrap());
            site.send(request).await
        };
        let key = format!("key {path}");
        let accepted = send(second, &key, &background).await;
        assert_eq!((accepted.status.as_u16(), &accepted.json()["session_id"]), (202, &json!("s")));
        let third = accepted.json()["run_id"].as_str().unwrap().to_owned();
        let id = quell_http::parse_id(&third).unwrap();
        site.service.engine().get(id).unwrap().ended().await;
        let history = heard.history();
        assert_eq!(history, said(&["one", "two"]));
        let again = send(second, &key, &background).await;
        assert_eq!((again.status.as_u16(), &again.json()["run_id"]), (202, &json!(third)));
        assert_eq!(again.json()["status"], "COMPLETED");
        let other = send(&run, &key, &background).await;
        let words = "Idempotency-Key was used with a different request";
        refused(&other, 409, words, None);
        let other = [("input", "four"), ("stream", "false"), ("background", "true")];
        refused(&send(second, &key, &other).await, 409, words, None);

        // What else a run is started with counts here as well.
        let own = format!("own{}", path.replace('/', "-"));
        let more = [("input", "five"), ("run_id", &*own), ("user_id", "u"), ("color", "red")];
        let answer = go_on(&site, path, &third, &[&JSON[..], &more].concat()).await.json();
        assert_eq!((&answer["run_id"], &answer["user_id"]), (&json!(own), &json!("u")));
        assert_eq!(heard.last()["color"], "red");
        let kept = followed(&site, path, &own, "six").await;
        assert_eq!(kept["user_id"], "u", "it is the user of the run that is continued");
        let twice = go_on(&site, path, &third, &[&JSON[..], &more].concat()).await;
        refused(&twice, 409, &format!("Run {own} already exists"), None);
        site.send(Request::delete("/sessions/s").body(Body::empty()).unwrap()).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_the_foreground_cancels_it() {
    let (site, _) = open();
    let run = ran(&site, "/agents/talker", "one", "s").await;
    let fields = [("input", "wait"), ("run_id", "left")];
    let request = post_form(&format!("/agents/talker/runs/{run}/continue"), &fields);
    let stream = site.app.clone().oneshot(request).await.unwrap();
    let engine = site.service.engine();
    let new = engine.get(quell_http::parse_id("left").unwrap()).unwrap();
    assert!(!new.status().is_terminal());
    drop(stream);
    new.ended().await;
    let left = read(&site, "/agents/talker", "left").await;
    assert_eq!(left["quell"]["cause"]["kind"], "disconnected", "{left}");
}

#[tokio::test]
async fn what_has_not_ended_takes_no_message_and_what_has_takes_no_answer() {
    let (site, heard) = open();
    for (path, _, field) in KINDS {
        let live = begun(&site, path, "wait", "s").await;
        let paused = begun(&site, path, "ask", "s").await;
        let done = ran(&site, path, "done", "s").await;
        let before = heard.last();
        let input = ("input", "go on");
        let running = go_on(&site, path, &live, &[input]).await;
        refused(&running, 409, &format!("Cannot continue run {live}: run is running"), None);
        for answer in [&[input][..], &[input, (field, "\"yes\"")]] {
            let words =
                format!("run {paused} is paused; expected its answer in `{field}`, and no `input`");
            let answer = go_on(&site, path, &paused, answer).await;
            assert_eq!(faults(&answer), [("input".to_owned(), words)]);
            assert_eq!(read(&site, path, &paused).await["status"], "PAUSED");
        }
        let both = go_on(&site, path, &done, &[input, (field, "[{\"id\": 1}]")]).await;
        let words = format!("run {done} asks nothing; expected no answer beside `input`");
        assert_eq!(faults(&both), [(field.to_owned(), words)]);
        // Without a message it is as ever.
        for nothing in [&[(field, "[]")][..], &[(field, ""), ("input", "")]] {
            let words = format!("Cannot continue run {done}: run is completed");
            refused(&go_on(&site, path, &done, nothing).await, 409, &words, None);
        }
        assert_eq!(faults(&go_on(&site, path, &done, &JSON).await)[0].0, field);
        let none = go_on(&site, path, "nobodys", &[input]).await;
        let words = "No runs found for run ID nobodys";
        refused(&none, 404, words, Some("NOT_FOUND"));
        let elsewhere = go_on(&site, path, &done, &[input, ("session_id", "other")]).await;
        assert_eq!(elsewhere.status, 404);
        let other = if path == TALKERS[0] { "/agents/goldfish" } else { TALKERS[0] };
        assert_eq!(go_on(&site, other, &done, &[input]).await.status, 404);
        assert_eq!(heard.last(), before, "nothing was started");
        // An answer is taken as ever.
        let answered = go_on(&site, path, &paused, &[(field, "\"yes\""), JSON[0]]).await;
        assert_eq!(answered.json()["content"], "yes", "{answered:?}");
        site.post(&format!("{path}/runs/{live}/cancel?wait=true")).await;
        site.send(Request::delete("/sessions/s").body(Body::empty()).unwrap()).await;
    }
}

#[tokio::test]
async fn another_boundary_than_the_end_is_refused_and_a_fork_is_what_is_served() {
    let (site, heard) = open();
    for (path, _, field) in KINDS {
        let done = ran(&site, path, "done", "s").await;
        let send = async |fields: &[(&str, &str)]| go_on(&site, path, &done, fields).await;
        let before = heard.last();
        let of_regenerate = "goes with `regenerate`, which is not served; expected none";
        for (key, value, words) in [
            ("regenerate", "true", "is not served; expected `false`"),
            ("replace_original", "false", of_regenerate),
            ("additional_instructions", "shorter", of_regenerate),
            ("continue_from", "last_user", "expected `end`: no other is served"),
            ("continue_from", "2", "expected `end`: no other is served"),
        ] {
            for beside in [("input", "go on"), (field, "[]")] {
                let answer = send(&[(key, value), beside]).await;
                assert_eq!(faults(&answer), [(key.to_owned(), words.to_owned())]);
            }
        }
        let fault = ("fork".to_owned(), "expected `input` beside it: a message".to_owned());
        assert_eq!(faults(&send(&[("fork", "true"), (field, "[]")]).await), [fault]);
        let words = "Extra inputs are not permitted".to_owned();
        let two = send(&[("input", "go on"), ("message", "x")]).await;
        assert_eq!(faults(&two), [("message".to_owned(), words)]);
        assert_eq!(heard.last(), before, "nothing was started");
        let said_so =
            [("fork", "true"), ("regenerate", "false"), ("continue_from", "end"), JSON[0]];
        let forked = send(&[&said_so[..], &[("input", "go on")]].concat()).await;
        assert_eq!(forked.json()["forked_from_run_id"], *done, "{forked:?}");
        assert_eq!(heard.last()["message"], "go on");
        assert_eq!(heard.last().as_object().unwrap().len(), 2, "none of them is a keyword");
    }
}

#[tokio::test]
async fn a_workflow_has_to_be_paused() {
    let (site, heard) = open();
    let path = TALKERS[2];
    let done = ran(&site, path, "done", "s").await;
    let paused = begun(&site, path, "ask", "s").await;
    let (input, answer) = (("input", "go on"), ("step_requirements", "[]"));
    let before = heard.last();
    let words = format!("Cannot continue run {done}: run is completed");
    refused(&go_on(&site, path, &done, &[input, answer]).await, 409, &words, None);
    let alone = faults(&go_on(&site, path, &done, &[input]).await);
    let fields: Vec<_> = alone.iter().map(|(field, _)| &**field).collect();
    assert_eq!(fields, ["step_requirements", "input"]);
    let both = faults(&go_on(&site, path, &paused, &[input, answer]).await);
    assert_eq!(both[0].0, "input", "{both:?}");
    assert_eq!(heard.last(), before);
}

#[tokio::test]
async fn a_member_and_a_run_that_is_deleted_are_not_followed() {
    let site = Site::open();
    let path = "/teams/slow-team";
    let run = ran(&site, path, "ticks=1 tick_ms=0", "s").await;
    let team = site.get(&format!("{path}/runs/{run}?session_id=s")).await.json();
    let member = team["member_responses"][0]["run_id"].as_str().unwrap();
    let words = format!("Cannot continue run {member}: it is a part of run {run}");
    refused(&go_on(&site, path, member, &[("input", "x")]).await, 409, &words, None);
    site.send(Request::delete("/sessions/s").body(Body::empty()).unwrap()).await;
    let gone = go_on(&site, path, &run, &[("input", "x")]).await;
    let words = format!("No runs found for run ID {run}");
    refused(&gone, 404, &words, Some("NOT_FOUND"));
    assert_eq!(site.service.engine().runs(&RunFilter::new().roots()).len(), 0);
}

#[tokio::test]
async fn it_needs_the_right_to_run_and_is_unknown_to_others() {
    let heard = Heard::default();
    let key = |who: &str| Key::new(who, format!("{who}-key"));
    let access = Access::open().key(key("ada")).key(key("ben")).key(key("root").admin());
    let access = access.key(Key::new("ada", "look-key").scopes(["agents:read"]));
    let site = heard.site(Engine::new(), access);
    let send = async |key: &str, path: &str, fields: &[(&str, &str)]| {
        let mut request = post_form(path, &[fields, &JSON].concat());
        let bearer = format!("Bearer {key}-key").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        site.send(request).await
    };
    let runs = "/agents/talker/runs";
    let hers = [("message", "hers"), ("session_id", "s"), ("run_id", "r")];
    assert_eq!(send("ada", runs, &hers).await.status, 200);
    let his = [("message", "his"), ("session_id", "s")];
    assert_eq!(send("ben", runs, &his).await.status, 200);
    let go_on = format!("{runs}/r/continue");
    let input = [("input", "go on")];
    let words = "No runs found for run ID r";
    refused(&send("ben", &go_on, &input).await, 404, words, Some("NOT_FOUND"));
    let words = "Insufficient permissions. Required scope(s): agents:run";
    refused(&send("look", &go_on, &input).await, 403, words, None);
    // Who sees all has a run of its own, which knows what the other one said.
    let by_root = send("root", &go_on, &input).await;
    assert_eq!((by_root.status.as_u16(), heard.history()), (200, said(&["hers"])));
    assert_eq!(send("ada", &go_on, &input).await.status, 200);
    assert_eq!(heard.history(), said(&["hers"]), "and is none of hers");
}

#[tokio::test]
async fn any_node_continues_what_another_one_has_ended_and_so_does_the_next_process() {
    let ((a, heard_a), (b, heard)) = nodes();
    // One that declares no history: its end is in the store a little later.
    let run = ran(&a, "/agents/goldfish", "at a", "s").await;
    followed(&b, "/agents/goldfish", &run, "at b").await;
    for (path, _, _) in KINDS {
        let run = ran(&a, path, "at a", "s").await;
        let new = followed(&b, path, &run, "at b").await;
        assert_eq!((&new["forked_from_run_id"], heard.history()), (&json!(run), said(&["at a"])));
        let id = new["run_id"].as_str().unwrap();
        assert_eq!(read(&a, path, id).await["forked_from_run_id"], *run);
        let streamed = go_on(&b, path, id, &[("input", "streamed")]).await.events();
        let id = streamed[0]["run_id"].as_str().unwrap();
        followed(&a, path, id, "at a").await;
        assert_eq!(heard_a.history(), said(&["at a", "at b", "streamed"]), "{path}");
        let live = begun(&a, path, "wait", "s").await;
        let words = format!("Cannot continue run {live}: run is running");
        soon_refused(&b, path, &live, &words).await;
    }
    let store = Arc::new(MemoryStore::new());
    let (site, _) = process(Valve::reopened(&store, 1) as _).await;
    let run = ran(&site, TALKERS[0], "before", "s").await;
    let new = followed(&site, TALKERS[0], &run, "then").await;
    site.service.engine().shutdown(Shutdown::default()).await;
    let (site, heard) = process(Valve::reopened(&store, 2) as _).await;
    let id = new["run_id"].as_str().unwrap();
    assert_eq!(read(&site, TALKERS[0], id).await["forked_from_run_id"], *run);
    let last = followed(&site, TALKERS[0], id, "after").await;
    assert_eq!(
        (&last["forked_from_run_id"], heard.history()),
        (&json!(id), said(&["before", "then"]))
    );
}

/// A node may not know yet that a run works on another one.
async fn soon_refused(site: &Site, path: &str, run: &str, words: &str) {
    let (site, path, run) = (site.clone(), path.to_owned(), run.to_owned());
    loop {
        let answer = go_on(&site, &path, &run, &[("input", "x")]).await;
        if answer.json()["detail"] == words {
            return;
        }
        assert_eq!(answer.status, 409, "{answer:?}");
        tokio::task::yield_now().await;
    }
}
