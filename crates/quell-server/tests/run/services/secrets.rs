//! Secrets of a service are in the environment, go to the service, and nowhere else.

use serde_json::Value;

use super::peer::Peer;
use super::{begin, end_of};
use crate::site::Site;
use crate::support::{Running, Scratch};

const HUSH: &str = "hush-hush-1234";

fn scratch(peer: &Peer, options: &str) -> Scratch {
    let scratch = Scratch::new();
    let (url, cancel) = (peer.url("/run"), peer.url("/stop"));
    let file = format!(
        "[agents.it]\nurl = \"{url}\"\ncancel = \"{cancel}\"\nkey_env = \"QUELL_TEST_KEY\"\n\
         headers_env = {{ X-Api-Key = \"QUELL_TEST_OTHER\" }}\n{options}\n\
         [agents.env]\nrun = [\"env\"]\n"
    );
    scratch.write("quell.toml", &file);
    scratch
}

#[test]
fn a_secret_reaches_the_service_and_no_output_of_ours() {
    // The service says what it was sent, as some do.
    let peer = Peer::start(|to| {
        to.answer("401 No", "text/plain", &format!("bad key {HUSH}, {HUSH}-2"));
    });
    let env = [("QUELL_TEST_KEY", HUSH), ("QUELL_TEST_OTHER", &format!("{HUSH}-2"))];
    let args = ["--config", "quell.toml", "--log", "trace"];
    let site = Site::with_env(scratch(&peer, ""), &args, &env);
    begin(&site, "one", &Value::Null);
    let run = end_of(&site, "one");
    assert_eq!(run["status"], "failed", "{run}");
    let asked = &peer.seen()[0];
    assert_eq!(asked.header("authorization"), Some(&*format!("bearer {HUSH}")));
    assert_eq!(asked.header("x-api-key"), Some(&*format!("{HUSH}-2")));
    let log: Vec<_> = site.log("one");
    assert!(!run.to_string().contains(HUSH), "{run}");
    assert!(!format!("{log:?}").contains(HUSH), "{log:?}");
    assert!(run.to_string().contains("bad key …, …"), "{run}");
    site.signal("TERM");
    let (ended, scratch) = site.ended();
    assert!(!ended.stderr.contains(HUSH), "{}", ended.stderr);
    // Programs do not get it.
    let mut command = scratch.quell(&["run", "agent/env", "--json"]);
    command.envs(env);
    let ended = Running::start(command).ended();
    ended.assert_code(0);
    assert!(ended.stdout.contains("QUELL_RUN_ID=") && !ended.stdout.contains(HUSH), "{ended:?}");
}

#[test]
fn a_secret_that_is_not_there_is_refused_at_the_start_and_fails_a_run() {
    let peer = Peer::start(|to| to.answer("200 OK", "text/plain", ""));
    let scratch = scratch(&peer, "");
    for (value, says) in [(None, "is not set"), (Some(""), "is empty"), (Some("a\nb"), "character")]
    {
        for args in [&["check"][..], &["serve", "--config", "quell.toml"], &["run", "agent/it"]] {
            let mut command = scratch.quell(args);
            command.env("QUELL_TEST_OTHER", HUSH);
            value.map(|value| command.env("QUELL_TEST_KEY", value));
            let ended = Running::start(command).ended();
            let is_run = args[0] == "run";
            ended.assert_code(if is_run { 1 } else { 2 });
            let said = if is_run { &ended.stdout } else { &ended.stderr };
            assert!(said.contains(says), "{args:?}: {ended:?}");
            let place = "quell.toml:4:11: `key_env`: ";
            assert!(is_run || said.contains(place), "{said}");
        }
    }
    assert!(peer.seen().is_empty());
}

#[test]
fn redirects_are_not_followed() {
    let target = Peer::start(|to| to.answer("200 OK", "text/plain", ""));
    let to = target.url("/else");
    let peer = Peer::start(move |answers| {
        let head = format!("HTTP/1.1 307 No\r\nlocation: {to}\r\nconnection: close\r\n\r\n");
        answers.write(&head);
    });
    let env = [("QUELL_TEST_KEY", HUSH), ("QUELL_TEST_OTHER", HUSH)];
    let site = Site::with_env(scratch(&peer, ""), &["--config", "quell.toml"], &env);
    begin(&site, "one", &Value::Null);
    let run = end_of(&site, "one");
    let error = run["rows"][0]["error"].as_str().unwrap_or_default();
    assert!(error.contains("307 Temporary Redirect, which is not followed"), "{run}");
    assert!(target.seen().is_empty(), "{:?}", target.seen());
}

#[test]
fn a_mistake_is_shown_with_its_line_and_without_its_secret() {
    let scratch = Scratch::new();
    for wrong in [
        "url = \"http://a/b\"\nheaders = { x = \"HUSH\", \"a b\" = \"HUSH\" }",
        "url = \"http://a/b?token=HUSH \"",
        "url = \"http://ann:HUSH@a/b\"",
        "url = \"http://a/b\"\nkey = \"HUSH\"",
        "model = { url = \"http://a/b\", name = \"m\", api_key = \"HUSH\" }",
        "run = [\"cat\"]\nenv = { A_TOKEN = \"HUSH\", B = 1 }",
    ] {
        scratch.write("quell.toml", &format!("[agents.it]\n{}\n", wrong.replace("HUSH", HUSH)));
        let ended = scratch.run(&["check"]);
        ended.assert_code(2);
        assert!(ended.stderr.contains("quell.toml:"), "{wrong}: {ended:?}");
        assert!(!ended.stderr.contains(HUSH), "{wrong}: {}", ended.stderr);
    }
}
