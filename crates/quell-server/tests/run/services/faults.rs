//! What is wrong with a service in the file is told with its place.

use std::fs;

use crate::support::{Running, Scratch, repository};

const WRONG: &str = r#"
[agents.both]
run = ["cat"]
url = "http://127.0.0.1:1/"

[agents.scheme]
url = "htp://127.0.0.1:1/"

[agents.password]
url = "http://ann:hush@127.0.0.1:1/"

[agents.cancel]
url = "http://127.0.0.1:1/"
cancel = "/stop"

[agents.options]
url = "http://127.0.0.1:1/"
retries = 11
connect_timeout = "0s"
headers = { "x y" = "1", Host = "a", x-fine = "1" }

[agents.program]
run = ["cat"]
retries = 1

[workflows.service]
url = "http://127.0.0.1:1/"
cwd = "/"

[workflows.two]
url = "http://127.0.0.1:1/"
model = { url = "http://127.0.0.1:1/", name = "m" }

[agents.shown]
run = ["cat"]
model = { id = "m", name = "m", system = "x" }

[agents.asked]
model = { url = "httq://127.0.0.1:1/", temperature = 3, max_tokens = 0 }

[agents.model]
model = { url = "httq://127.0.0.1:1/", name = "m", retries = 11 }
confirm = "1s"

"#;

#[test]
fn every_fault_of_a_service_is_told_with_its_line() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", WRONG);
    let ended = Running::start(scratch.quell(&["check"])).ended();
    ended.assert_code(2);
    let messages: Vec<&str> = ended
        .stderr
        .lines()
        .map(|line| line.trim_start().trim_start_matches("error: "))
        .filter(|line| line.contains("quell.toml"))
        .collect();
    let right: [String; 20] = [
        "quell.toml:4:7: `url`: `run` and `url` are both there; expected one of them".into(),
        "quell.toml:7:7: `url`: unknown scheme `htp`; did you mean `http`?".into(),
        "quell.toml:10:7: `url`: user and password in an address; expected `key_env`".into(),
        "quell.toml:14:10: `cancel`: no scheme and host; expected one such as".into(),
        "quell.toml:18:11: `retries`: found 11; expected at most 10".into(),
        "quell.toml:19:19: `connect_timeout`: time is zero; expected a time above zero such as \
         \"10s\""
            .into(),
        "quell.toml:20:21: this key: is no name of a header".into(),
        "quell.toml:20:33: `Host`: is set by quell".into(),
        "quell.toml:24:11: `retries`: goes with `url`".into(),
        "quell.toml:28:7: `cwd`: goes with `run`".into(),
        "quell.toml:32:9: `model`: `url` and `model` are both there; expected one of them".into(),
        "quell.toml:36:9: `model`: `provider` is missing".into(),
        "quell.toml:36:42: `system`: goes with `url`".into(),
        "quell.toml:39:9: `model`: `name` is missing".into(),
        "quell.toml:39:17: `url`: unknown scheme `httq`; did you mean `http`?".into(),
        "quell.toml:39:54: `temperature`: found 3; expected 0 to 2".into(),
        "quell.toml:39:70: `max_tokens`: a model that writes nothing answers nothing".into(),
        "quell.toml:42:17: `url`: unknown scheme `httq`; did you mean `http`?".into(),
        "quell.toml:42:62: `retries`: found 11; expected at most 10".into(),
        "quell.toml:43:11: `confirm`: is in `model`, if it goes with one".into(),
    ];
    assert_eq!(messages.len(), right.len(), "{}", ended.stderr);
    for (message, right) in messages.iter().zip(right) {
        assert!(message.starts_with(&right), "{right}\n{message}");
    }
}

#[test]
fn what_would_be_asked_elsewhere_or_otherwise_is_refused() {
    let scratch = Scratch::new();
    for (wrong, says) in [
        ("url = \"http://127.0.0.1:99999/\"", "`url`: no port; expected one from 1 to 65535"),
        ("url = \"http://127.0.0.1:1/#a\"", "`url`: a fragment, which is not sent"),
        (
            "url = \"https://127.0.0.1:1/\"\ncancel = \"http://127.0.0.1:1/\"",
            "`cancel`: is not encrypted, and gets the headers of `url`, which is; expected https",
        ),
        (
            "model = { url = \"http://127.0.0.1:1/v1/chat/completions\", name = \"m\" }",
            "`url`: ends in `/chat/completions`, which is added",
        ),
        (
            "url = \"http://127.0.0.1:1/\"\nkey_env = \"PATH\"\n\
             headers_env = { Authorization = \"PATH\" }",
            "`key_env`: the headers have `authorization` already",
        ),
        (
            "url = \"http://127.0.0.1:1/\"\nheaders = { X-Key = \"1\" }\n\
             headers_env = { x-key = \"PATH\" }",
            "quell.toml:4:25: `x-key`: `headers_env` repeats `X-Key` of `headers`",
        ),
        (
            "url = \"http://127.0.0.1:1/\"\nheaders = { X-Key = \"1\", x-key = \"2\" }",
            "`x-key`: `headers` repeats `X-Key` of `headers`; expected one of them",
        ),
        (
            "model = { url = \"http://127.0.0.1:1/v1\", name = \"m\", headers = { a = \"1\" }, \
             headers_env = { A = \"PATH\" } }",
            "`A`: `headers_env` repeats `a` of `headers`",
        ),
        (
            "url = \"http://127.0.0.1:1/\"\ncancel_timeout = \"1s\"",
            "`cancel_timeout`: goes with `cancel`",
        ),
        (
            "url = \"http://127.0.0.1:1/\"\ncancel = \"http://127.0.0.1:1/\"\n\
             cancel_timeout = \"0s\"",
            "`cancel_timeout`: no service can answer in no time",
        ),
    ] {
        scratch.write("quell.toml", &format!("[agents.it]\n{wrong}\n"));
        let ended = scratch.run(&["check"]);
        ended.assert_code(2);
        assert!(ended.stderr.contains(says), "{wrong}: {}", ended.stderr);
    }
}

#[test]
fn the_help_is_the_page_and_it_has_every_key() {
    let page = fs::read_to_string(repository().join("crates/quell-server/src/service.md"));
    let page = page.expect("the page");
    let ended = Scratch::new().run(&["help", "service"]);
    ended.assert_code(0);
    assert_eq!(ended.stdout.trim_end(), page.trim_end());
    for key in [
        "url",
        "cancel",
        "cancel_timeout",
        "key_env",
        "headers_env",
        "headers",
        "retries",
        "connect_timeout",
        "confirm",
    ] {
        assert!(page.contains(&format!("| `{key}` | ")), "{key}");
    }
}
