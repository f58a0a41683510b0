//! `history` of a component: what was said in earlier runs reaches a model, a program, a service, a
//! plan and the members of a team.

use serde_json::{Value, json};

use super::peer::{Answers, Peer};
use crate::site::Site;
use crate::support::Scratch;

/// Answers as a model that says the last message again.
fn answer(to: &mut Answers<'_>) {
    let body = to.asked.json();
    let last = body["messages"].as_array().and_then(|all| all.last()).map(|it| &it["content"]);
    let text = format!("re: {}", last.and_then(Value::as_str).unwrap_or("?"));
    let choice = json!({ "message": { "content": text }, "finish_reason": "stop" });
    let whole = json!({ "choices": [choice] }).to_string();
    to.answer("200 OK", "application/json", &whole);
}

fn run(site: &Site, path: &str, message: &str) -> Value {
    let fields = [("message", message), ("session_id", "s"), ("stream", "false")];
    let (status, run) = site.form(&format!("{path}/runs"), &fields);
    assert_eq!((status, &run["status"]), (200, &"COMPLETED".into()), "{run}");
    run
}

/// Yields what the model was asked last.
fn asked(peer: &Peer) -> Value {
    peer.seen().last().expect("it was asked").json()["messages"].clone()
}

#[test]
fn a_model_gets_what_was_said_before_as_messages_and_so_does_a_run_that_continues_one() {
    let peer = Peer::start(answer);
    let (scratch, url) = (Scratch::new(), peer.url("/v1"));
    let file = format!(
        "[agents.it]\nmodel = {{ url = \"{url}\", name = \"m\", system = \"brief\" }}\n\
         history = 2\n[teams.both]\nmode = \"broadcast\"\nmembers = [\"agent/it\"]\nhistory = 1\n"
    );
    scratch.write("quell.toml", &file);
    let site = Site::with(scratch, &["--config", "quell.toml", "--store", "runs.db"]);
    let said = |role: &str, text: &str| json!({ "role": role, "content": text });
    let of = |texts: &[&str], last: &str| {
        let both = |it: &&str| [said("user", it), said("assistant", &format!("re: {it}"))];
        let before: Vec<_> = texts.iter().flat_map(both).collect();
        let all = [vec![said("system", "brief")], before, vec![said("user", last)]];
        Value::from(all.concat())
    };
    let first = run(&site, "/agents/it", "one");
    assert_eq!(asked(&peer), of(&[], "one"));
    run(&site, "/agents/it", "two");
    assert_eq!(asked(&peer), of(&["one"], "two"));
    run(&site, "/agents/it", "three");
    let last = run(&site, "/agents/it", "four");
    assert_eq!(asked(&peer), of(&["two", "three"], "four"));
    assert_eq!(last["content"], "re: four", "{last}");

    let path = format!("/agents/it/runs/{}/continue", first["run_id"].as_str().expect("an id"));
    let fields = [("tools", "[]"), ("input", "and?"), ("stream", "false")];
    let (status, new) = site.form(&path, &fields);
    assert_eq!((status, &new["forked_from_run_id"]), (200, &first["run_id"]), "{new}");
    assert_eq!(asked(&peer), of(&["one"], "and?"));

    // The members of a team have its task, with its history.
    run(&site, "/teams/both", "five");
    assert_eq!(asked(&peer), of(&[], "five"));
    run(&site, "/teams/both", "six");
    let messages = asked(&peer);
    let before = messages[2]["content"].as_str().expect("what the team said");
    assert_eq!(messages[1], said("user", "five"), "{messages}");
    assert!(before.contains("re: five"), "{messages}");
}

#[test]
fn programs_services_and_plans_get_it_beside_the_message() {
    let peer = Peer::start(|to| to.answer("200 OK", "application/json", "\"answered\""));
    let (scratch, url) = (Scratch::new(), peer.url("/run"));
    let file = format!(
        "[agents.program]\nrun = [\"sh\", \"-c\", \"cat > seen; echo noted\"]\nhistory = 1\n\
         [workflows.service]\nurl = \"{url}\"\nhistory = 1\n\
         [workflows.plan]\nplan = \"plan.toml\"\nhistory = 1\n\
         [agents.none]\nrun = [\"sh\", \"-c\", \"cat > none\"]\nhistory = 0\n"
    );
    scratch.write("quell.toml", &file);
    let step = "name = \"plan\"\n[[steps]]\nname = \"note\"\n\
                run = [\"sh\", \"-c\", \"cat; cat > /dev/null\"]\n\
                input = \"{{ input.message }} after {{ input.history | length }}\"\n";
    scratch.write("plan.toml", step);
    let site = Site::with(scratch, &["--config", "quell.toml"]);
    let given = |first: &Value, answer: &str| {
        let run = &first["run_id"];
        let said = |role: &str, text: &str| json!({ "role": role, "content": text, "run_id": run });
        json!({ "message": "two", "history": [said("user", "one"), said("assistant", answer)] })
    };
    let of_program = run(&site, "/agents/program", "one");
    run(&site, "/agents/program", "two");
    let of_service = run(&site, "/workflows/service", "one");
    run(&site, "/workflows/service", "two");
    let posted = peer.seen().last().expect("it was asked").json();
    assert_eq!(posted, given(&of_service, "answered"));
    run(&site, "/workflows/plan", "one");
    let of_plan = run(&site, "/workflows/plan", "two");
    assert!(of_plan.to_string().contains("two after 2"), "{of_plan}");
    run(&site, "/agents/none", "one");
    run(&site, "/agents/none", "two");
    site.signal("TERM");
    let (_, scratch) = site.ended();
    assert_eq!(scratch.json("seen"), given(&of_program, "noted"));
    assert_eq!(scratch.json("none"), json!("two"));
}

#[test]
fn a_history_that_is_no_number_of_runs_is_refused() {
    for (value, words) in
        [("101", "found 101; expected 0 to 100 runs"), ("-1", "expected"), ("\"all\"", "expected")]
    {
        for entry in [
            "[agents.a]\nrun = [\"true\"]\n",
            "[workflows.a]\nrun = [\"true\"]\n",
            "[agents.b]\nrun = [\"true\"]\n\
             [teams.a]\nmode = \"sequence\"\nmembers = [\"agent/b\"]\n",
        ] {
            let scratch = Scratch::new();
            scratch.write("quell.toml", &format!("{entry}history = {value}\n"));
            let ended = scratch.run(&["check"]);
            ended.assert_code(2);
            assert!(
                ended.stderr.contains(words) && ended.stderr.contains("history"),
                "{value}: {}",
                ended.stderr
            );
        }
    }
}
