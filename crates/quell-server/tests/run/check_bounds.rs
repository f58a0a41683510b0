//! What `quell check` says of secrets, and of more than it can take.

use crate::check::checked;
use crate::support::Scratch;

#[test]
fn what_may_be_a_secret_is_in_no_message_about_a_configuration() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", SECRETS);
    let ended = checked(&scratch, &[]);
    ended.assert_code(2);
    assert!(!ended.stderr.contains("HUSH"), "{}", ended.stderr);
    for says in ["unknown key `pasword`", "`run`: found a number", "did you mean `timeout`?"] {
        assert!(ended.stderr.contains(says), "{says}: {}", ended.stderr);
    }
}

const SECRETS: &str = r#"
[agents.a]
url = "http://127.0.0.1:1"
key_env = "hf_AbHUSHcd"  # xHUSH
bearer = "xHUSH"
pasword = "xHUSH"
headers = { x = 1, y = "xHUSH" }
headers_env = { "sk-xHUSH/x" = "A" }

[agents.b]
run = ["curl", 17, "-H", "Authorization: Bearer xHUSH"]
env = { DB = "postgres://u:xHUSH@h/db", OPENAI_KEYS = "xHUSH", X = 1 }
timeot = 5 # xHUSH

[agents.c]
run = ["quell-test-no-such-program", "-H", "Authorization: Bearer xHUSH"]

[agents.d]
run = "curl -H 'Authorization: Bearer xHUSH' http://x"

[agents.e]
url = "http://127.0.0.1:1"
hf_AbHUSHcd = 1
"#;

#[test]
fn a_configuration_with_more_entries_than_the_limit_is_refused_and_the_search_for_faults_ends() {
    let scratch = Scratch::new();
    let many = |count: usize, entry: fn(usize) -> String| {
        let text: String = (0..count).map(entry).collect();
        scratch.write("quell.toml", &text);
        checked(&scratch, &[])
    };
    let ended = many(10_001, |at| format!("[agents.a{at}]\nrun = ['sh']\n"));
    ended.assert_code(2);
    assert!(ended.stderr.contains("has 10001 components"), "{}", ended.stderr);
    for entry in [
        |at| format!("[agents.a{at}]\nrun = ['quell-test-no-such-program']\n"),
        |at| format!("[agents.a{at}]\nrun = ['sh']\nzzz = 1\n"),
        |at| format!("[teams.a{at}]\nmode = 'sequence'\nmembers = ['a{at}']\n"),
    ] {
        let ended = many(300, entry);
        ended.assert_code(2);
        assert_eq!(ended.stderr.matches("quell.toml:").count(), 100, "{}", ended.stderr);
        assert!(ended.stderr.ends_with(MORE), "{}", ended.stderr);
    }
    // Each team has the next one as its member.
    let chain = |at: usize| match at {
        0..300 => format!("[teams.a{at}]\nmode = 'sequence'\nmembers = ['a{}']\n", at + 1),
        _ => format!("[agents.a{at}]\nrun = ['sh']\n"),
    };
    many(301, chain).assert_code(0);
}

/// What is said of the faults beyond the bound of the search.
const MORE: &str = "       there may be more: the search ends at 100\n";

#[test]
fn what_checks_a_configuration_lists_all_and_other_commands_the_first_and_what_lists_all() {
    let scratch = Scratch::new();
    let agents: Vec<String> = (0..37).map(|at| format!("[agents.a{at}]\nrnu = []\n")).collect();
    scratch.write("my quell.toml", &agents.concat());
    let ended = checked(&scratch, &["my quell.toml"]);
    ended.assert_code(2);
    let count = |stderr: &str| stderr.matches("unknown key `rnu`").count();
    assert_eq!(count(&ended.stderr), 37, "{}", ended.stderr);
    assert!(!ended.stderr.contains("more"), "{}", ended.stderr);
    for args in [
        &["serve", "--config", "my quell.toml"][..],
        &["run", "agent/a1", "--config", "my quell.toml"],
        &["list", "--config", "my quell.toml"],
    ] {
        let ended = scratch.run(args);
        ended.assert_code(2);
        assert_eq!(count(&ended.stderr), 20, "{}", ended.stderr);
        let says = "       and 17 more faults; `quell check 'my quell.toml'` lists all\n";
        assert!(ended.stderr.ends_with(says), "{}", ended.stderr);
    }
}

#[test]
fn a_configuration_that_is_larger_than_the_limit_is_refused_with_it() {
    let scratch = Scratch::new();
    let agent = "[agents.a]\nrun = ['true']\n";
    let fill = |len: usize| format!("{agent}{}\n", "#".repeat(len - agent.len() - 1));
    scratch.write("quell.toml", &fill(4 << 20));
    checked(&scratch, &[]).assert_code(0);
    scratch.write("quell.toml", &fill((4 << 20) + 1));
    let ended = checked(&scratch, &[]);
    ended.assert_code(2);
    let says = "quell.toml: has more than 4194304 bytes, the limit\n";
    assert!(ended.stderr.ends_with(says), "{}", ended.stderr);
}

#[test]
fn two_keys_with_one_secret_are_refused() {
    let key = "[[keys]]\nsubject = 'a'\nsecret_env = 'QUELL_TEST_KEY'\n";
    let scratch = Scratch::new();
    scratch
        .write("quell.toml", &format!("[agents.a]\nrun = ['cat']\n{key}{key}read_only = true\n"));
    let ended = checked(&scratch, &[]);
    ended.assert_code(2);
    let says = "quell.toml:8:14: `secret_env`: has the secret of another key, number 1; expected";
    assert!(ended.stderr.contains(says) && !ended.stderr.contains("s3cret"), "{}", ended.stderr);
}

#[test]
fn scopes_beside_admin_which_may_do_everything_are_refused() {
    let key = "[[keys]]\nsubject = 'a'\nsecret_env = 'QUELL_TEST_KEY'\nadmin = true\n";
    for (more, says) in [
        ("scopes = ['agents:read']\n", Some("quell.toml:7:10: `scopes`: does not go with `admin`")),
        ("read_only = true\n", None),
    ] {
        let scratch = Scratch::new();
        scratch.write("quell.toml", &format!("[agents.a]\nrun = ['cat']\n{key}{more}"));
        let ended = checked(&scratch, &[]);
        ended.assert_code(if says.is_some() { 2 } else { 0 });
        assert!(ended.stderr.contains(says.unwrap_or_default()), "{}", ended.stderr);
    }
}

#[test]
fn an_origin_that_no_page_has_is_refused_with_the_right_one() {
    let scratch = Scratch::new();
    let file = "[server]\ntrusted_hosts = ['box.lan', 'box.lan:80']\n[agents.a]\nrun = ['true']\n\
                [agentos]\ncors_origins = ['http://h', 'example.com', 'https://example.com/']\n";
    scratch.write("quell.toml", file);
    let ended = checked(&scratch, &[]);
    ended.assert_code(2);
    let no_origin = "is no origin as browsers send it; expected `https://example.com`";
    for line in [
        "2:29: `trusted_hosts`: `box.lan:80` is no name of a host without its port; expected \
         `box.lan`",
        &format!("6:29: `cors_origins`: `example.com` {no_origin}"),
        &format!("6:44: `cors_origins`: `https://example.com/` {no_origin}"),
    ] {
        assert!(ended.stderr.contains(&format!("quell.toml:{line}\n")), "{}", ended.stderr);
    }
    assert_eq!(ended.stderr.matches("quell.toml:").count(), 3, "{}", ended.stderr);
    scratch.write("quell.toml", "[agents.a]\nrun = ['true']\n");
    let set = ["serve", "--config", "quell.toml", "--set", "server.trusted_origins=['h']"];
    let ended = scratch.run(&set);
    ended.assert_code(2);
    assert!(ended.stderr.contains("expected `https://h`\n"), "{}", ended.stderr);
}
