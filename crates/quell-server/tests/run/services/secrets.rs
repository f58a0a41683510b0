//! Secrets of a service are in the environment, go to the service, and nowhere else.

use serde_json::{Value, json};

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
    // Programs do not get it, and commands of plans do not.
    let plan = "name: p\nsteps:\n- { name: a, component: agent/env }\n\
                - { name: b, run: [sh, -c, 'echo \"($QUELL_TEST_KEY)\"'] }\n";
    scratch.write("plan.yaml", plan);
    for (name, says) in [("agent/env", "QUELL_RUN_ID="), ("plan.yaml", "()")] {
        let mut command = scratch.quell(&["run", name, "--report", "r.json"]);
        command.envs(env);
        Running::start(command).ended().assert_code(0);
        let report = scratch.json("r.json").to_string();
        assert!(report.contains(says) && !report.contains(HUSH), "{name}");
    }
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
        "run = [\"cat\"]\nenv = \"A_TOKEN=HUSH\"",
        "url = \"http://u:pa/HUSH@h\"",
        "headers = \"authorization: Bearer HUSH\"",
        "model = \"HUSH\"",
        "url = \"http://a/b\"\nkey_env = \"HUSH\"",
        "url = \"http://a/b\"\nheaders_env = { x = \"HUSH\" }",
        "url = \"http://a/b\"\nheaders_env = \"x: HUSH\"",
        "run = [\"cat\"]\n[[keys]]\nsubject = \"a\"\nsecret_env = \"HUSH\"",
        // What cannot be read at all.
        "headers = { authorization = \"Bearer HUSH }",
        "headers = { x = \"HUSH\", x = \"HUSH\" }",
        "headers.x = \"HUSH\"\nheaders.x = \"HUSH\"",
        "headers = { x = HUSH }",
        "headers.x = \"\"\"\nHUSH \\q\n\"\"\"",
        "[agents.it.headers]\nauthorization: Bearer HUSH",
    ] {
        scratch.write("quell.toml", &format!("[agents.it]\n{}\n", wrong.replace("HUSH", HUSH)));
        let ended = scratch.run(&["check"]);
        ended.assert_code(2);
        assert!(ended.stderr.contains("quell.toml:"), "{wrong}: {ended:?}");
        assert!(!ended.stderr.contains(HUSH), "{wrong}: {}", ended.stderr);
    }
}

#[test]
fn a_secret_that_looks_like_a_name_a_number_or_a_key_is_not_shown_either() {
    let scratch = Scratch::new();
    let service = "url = \"http://a/b\"\n";
    for (wrong, secret) in [
        ("key_env = \"ghp_16C7e42F292c69\"", "ghp_16C7e42F292c69"),
        ("headers_env = { x = \"a1b2c3d4\" }", "a1b2c3d4"),
        ("headers = { x = 1414213562 }", "1414213562"),
        ("headers_env = { x = 1.414213562 }", "1.414213562"),
        ("api_keys = \"hush-hush\"", "hush-hush"),
        ("passphrase = \"hush-hush\"", "hush-hush"),
        // Below a quote that is missing.
        ("headers.x = \"Bearer\nc2VjcmV0Cg==\"", "c2VjcmV0Cg"),
    ] {
        scratch.write("quell.toml", &format!("[agents.it]\n{service}{wrong}\n"));
        let ended = scratch.run(&["check"]);
        ended.assert_code(2);
        assert!(!ended.stderr.contains(secret), "{wrong}: {}", ended.stderr);
    }
    for (wrong, secret) in [
        ("run = [\"cat\"]\nenv = { DATABASE = \"a-hush-b\", N = 1 }", "a-hush-b"),
        ("run = [\"quell-test-gone\", \"pg://ann:hush-hush@b\"]", "hush-hush"),
    ] {
        scratch.write("quell.toml", &format!("[agents.it]\n{wrong}\n"));
        let ended = scratch.run(&["check"]);
        ended.assert_code(2);
        assert!(!ended.stderr.contains(secret), "{wrong}: {}", ended.stderr);
    }
    // A run that cannot start says no more.
    let file = "[agents.it]\nurl = \"http://a/b\"\nkey_env = \"ghp_16C7e42F292c69\"\n";
    scratch.write("quell.toml", file);
    let ended = scratch.run(&["run", "agent/it"]);
    ended.assert_code(1);
    assert!(ended.stdout.contains("the environment variable of this name is not set"), "{ended:?}");
    assert!(!format!("{ended:?}").contains("ghp_"), "{ended:?}");
}

#[test]
fn of_the_variables_of_a_program_no_word_but_their_names_is_shown() {
    let scratch = Scratch::new();
    for wrong in [
        "env = { \"B=hush\" = 1 }",
        "env = { 'B:hush' = 1, B-hush = 1, \"B.hush\" = true }",
        "env.\"B=hush\" = 1",
        "env.B.hush = 1\nenv.B.hushed = 2",
        "env = { B-hush = 1 }",
        "[agents.it.env]\n\"B=hush\" = 1",
        "[agents.it.env]\nB-hush = [1]",
        "[agents.it.env.B-hush]\nx = 1\n[agents.it.env.B-hush.hush]",
        "env = [{ hush = 1 }, \"B=hush\"]",
        "[[agents.it.env]]\nhush = 1",
        "evn = { \"B=hush\" = 1, B.hush = 1 }",
        // What cannot be read at all.
        "env.B-hush = x",
        "env.B.hush = x",
        "env = { A = 1,\nB-hush = x }",
        "[agents.it.env.B-hush]\nx = y",
        "env = [\n[hush]",
        "env.B = \"\"\"\n'''\nhush = x",
    ] {
        scratch.write("quell.toml", &format!("[agents.it]\nrun = [\"cat\"]\n{wrong}\n"));
        let ended = scratch.run(&["check"]);
        ended.assert_code(2);
        assert!(ended.stderr.contains(" | "), "{wrong}: {ended:?}");
        assert!(!ended.stderr.contains("hush"), "{wrong}: {}", ended.stderr);
    }
    // The name of a variable is said.
    scratch.write("quell.toml", "[agents.it]\nrun = [\"cat\"]\nenv = { A_KEY = 1 }\n");
    let said = scratch.run(&["check"]).stderr;
    assert!(said.contains("`A_KEY`: found a number") && said.contains("{ A_KEY = * }"), "{said}");
}

#[test]
fn a_mistake_in_a_line_that_cannot_be_read_is_seen_without_its_values() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", "[agents.it]\nheaders = { x = \"Bearer s3cret }\n");
    let ended = scratch.run(&["check"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("quell.toml:2:"), "{ended:?}");
    assert!(ended.stderr.contains("headers = { * = \"****** ****** }\n"), "{ended:?}");
}

#[test]
fn a_setting_of_the_command_line_is_named_without_its_secret() {
    let scratch = Scratch::new();
    for setting in [
        "agents.a.headers=authorization: Bearer HUSH",
        "agents.a.headers.authorization.x={a='HUSH'}",
        "agents.a.model=HUSH",
        "agents.a.env=API_KEY=HUSH",
        "keys=HUSH",
    ] {
        let set = setting.replace("HUSH", HUSH);
        let ended = scratch.run(&["serve", "--demo", "--set", &set]);
        ended.assert_code(2);
        let (keys, _) = setting.split_once('=').expect("a setting");
        assert!(ended.stderr.contains(&format!("--set {keys}=…: ")), "{setting}: {ended:?}");
        assert!(!ended.stderr.contains(HUSH), "{setting}: {}", ended.stderr);
    }
}

#[test]
fn a_service_that_says_what_it_was_sent_is_quoted_without_it() {
    let peer = Peer::start(|to| {
        let said = format!("{} {} {}", to.asked.head, to.asked.path, HUSH);
        to.answer("400 No", "text/plain", &said);
    });
    let scratch = Scratch::new();
    let file = format!(
        "[agents.query]\nurl = \"{}\"\n[agents.scheme]\nurl = \"{}\"\n\
         headers_env = {{ authorization = \"QUELL_TEST_KEY\" }}\n",
        peer.url(&format!("/run?v=2&token={HUSH}")),
        peer.url("/run"),
    );
    scratch.write("quell.toml", &file);
    let env = [("QUELL_TEST_KEY", &*format!("Bearer {HUSH}"))];
    let site = Site::with_env(scratch, &["--config", "quell.toml"], &env);
    for name in ["query", "scheme"] {
        let body = json!({ "component": format!("agent/{name}"), "input": null, "id": name });
        assert_eq!(site.post("/v1/runs", &body).0, 201);
        let run = end_of(&site, name);
        let error = run["rows"][0]["error"].as_str().unwrap_or_default();
        assert!(error.contains("400 Bad Request: post /run"), "{error}");
        assert!(!error.contains(HUSH) && error.ends_with('…'), "{error}");
    }
}

// As frameworks write what they were sent: in JSON, in JSON of that, in an address, in HTML.
#[test]
fn a_service_that_says_what_it_was_sent_in_escapes_is_quoted_without_it() {
    let signed = r#"{"user":"u","sig":"ZZ\b/é ZZ"}"#;
    let cookie = r#"sid="ZZsigZZ"; theme=a"#;
    let token = "ZZq/q==w\"xé";
    let peer = Peer::start(move |to| {
        let ascii = |text: &str| {
            let json = Value::from(text).to_string();
            json.replace('é', "\\u00e9").replace("\\\"", "\\u0022")
        };
        let percent =
            |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
        let all = [signed, cookie, token].map(|text| {
            let json = Value::from(text).to_string();
            let html = text.replace('"', "&quot;");
            let latin: String = text.bytes().map(char::from).collect();
            let ways = [ascii(text).replace("00e9", "00E9"), percent(text), html, latin];
            format!("{json} {} {} {}", json!({ "detail": json }), ascii(text), ways.join(" "))
        });
        to.answer("500 No", "application/json", &all.join(" "));
    });
    let scratch = Scratch::new();
    let query = "token=ZZq%2Fq%3D%3Dw%22x%C3%A9";
    let file = format!(
        "[agents.it]\nurl = \"{}\"\nretries = 0\nheaders = {{ cookie = '{cookie}' }}\n\
         headers_env = {{ x-signed = \"QUELL_TEST_KEY\" }}\n",
        peer.url(&format!("/run?{query}")),
    );
    scratch.write("quell.toml", &file);
    let args = ["--config", "quell.toml", "--log", "trace"];
    let site = Site::with_env(scratch, &args, &[("QUELL_TEST_KEY", signed)]);
    begin(&site, "one", &Value::Null);
    let run = end_of(&site, "one").to_string();
    assert!(run.contains("500 Internal Server Error: ") && run.contains('…'), "{run}");
    let log = format!("{:?}", site.log("one"));
    site.signal("TERM");
    let (ended, _) = site.ended();
    for said in [run, log, ended.stderr] {
        assert!(!said.contains("ZZ"), "{said}");
    }
}
