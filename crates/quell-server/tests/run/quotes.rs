//! What messages about `quell.toml` and the command line quote of values: no more than the line of
//! the file below them shows.

use crate::support::{Ended, Scratch};

/// Checks a configuration that is refused, and yields what is said without its lines.
#[track_caller]
fn sentences(scratch: &Scratch, text: &str) -> String {
    scratch.write("quell.toml", text);
    let ended = scratch.run(&["check"]);
    ended.assert_code(2);
    without_secret(&ended);
    let lines = ended.stderr.lines().filter(|line| line.contains("quell.toml:"));
    lines.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn without_secret(ended: &Ended) {
    let said = [&*ended.stdout, &*ended.stderr].concat();
    assert!(!said.contains("hush"), "{said}");
}

#[test]
fn the_sentence_about_a_value_shows_no_more_of_it_than_the_line() {
    let scratch = Scratch::new();
    let agent = "[agents.a]\nrun = ['true']\n";
    let key = "[[keys]]\nsubject = 'a'\nsecret_env = 'HOME'\n";
    for (line, says) in [
        ("timeout = 'A=hush'", "`timeout`: invalid time `…`; expected one such as \"500ms\""),
        ("timeout = 'A=5M hush'", "`timeout`: `M` of `…` is a month; expected `m`"),
        ("idle = 'https://u:hush@h'", "`idle`: invalid time `…`; expected one such as"),
        ("cwd = 'A=hush'", "A=…: no such folder"),
        ("cwd = '/A=hush/x'", "`cwd`: /A=…: no such folder"),
        ("cwd = 'https://u:hush@h/x'", "https:…: no such folder"),
        ("cwd = 'no?key=hush'", "/no?…: no such folder"),
        ("contracts = ['A=hush']", "`contracts`: unknown contract `A=…`; expected one of `native`"),
    ] {
        let said = sentences(&scratch, &format!("{agent}{line}\n"));
        assert!(said.contains(says), "{line}: {said}");
    }
    for (text, says) in [
        ("listen = 'hush://h'\n", "`listen`: invalid address `…`; expected one such as"),
        ("listen = 'u:hush@h'\n", "`listen`: invalid address `u:…`; expected one such as"),
        ("[workflows.w]\nplan = 'A=hush'\n", "`plan`: A=…: no extension; expected `.toml`"),
        ("[workflows.w]\nplan = 'x.A=hush'\n", "`plan`: x.A=…: unknown extension `…`"),
        ("[workflows.w]\nplan = 'https://u:hush@h/x.toml'\n", "`plan`: https://…: no such file"),
        ("[agents.a]\nurl = 'hush://h/x'\n", "unknown scheme `…`; expected one such as"),
        ("[agents.a]\nurl = 'http://h'\ncancel = 'hush://h'\n", "`cancel`: unknown scheme `…`"),
        ("[agents.a]\nurl = 'htp://h/hush'\n", "unknown scheme `htp`; did you mean `http`?"),
        ("[agents.a]\nurl = 'ftp://h/hush'\n", "unknown scheme `ftp`; expected one such as"),
        ("[teams.t]\nmode = 'route'\nmembers = ['A=hush']\n", "unknown component `A=…`"),
    ] {
        let said = sentences(&scratch, text);
        assert!(said.contains(says), "{text}: {said}");
    }
    let token = "[[tokens]]\nalgorithm = 'RS256'\npublic_key_file = '-----BEGIN hush'\n";
    for (text, says) in [
        (format!("{key}scopes = ['A=hush']\n{agent}"), "unknown scope `A=…`; expected `RESOURCE"),
        (format!("{key}scopes = ['agent:A=hush:run']\n{agent}"), "did you mean `agents:A=…`?"),
        (format!("{token}{agent}"), "`public_key_file`: -----…: No such file"),
    ] {
        let said = sentences(&scratch, &text);
        assert!(said.contains(says), "{text}: {said}");
    }
}

#[test]
fn a_number_that_is_out_of_bounds_is_shown_and_a_text_in_its_place_is_not() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", "[limits]\nrunning = -1\n[agents.a]\nrun = ['true']\n");
    let ended = scratch.run(&["check"]);
    ended.assert_code(2);
    let says = "`running`: found a number; expected a whole number from 0 on";
    assert!(ended.stderr.contains(says) && ended.stderr.contains("running = -1\n"), "{ended:?}");
    for text in ["[limits]\nrunning = 'hush'\n", "[agents.a]\nurl = 'http://h'\nretries = 'hush'\n"]
    {
        assert!(sentences(&scratch, text).contains("found a string; expected a whole number"));
    }
}

#[test]
fn what_stands_in_the_place_of_a_program_is_not_shown_unless_it_is_a_text() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", "[agents.a]\nrun = [true, ['hush'], 'hush']\n");
    let ended = scratch.run(&["check"]);
    ended.assert_code(2);
    without_secret(&ended);
    assert!(ended.stderr.contains("run = [****, ['****'], '****']\n"), "{ended:?}");
    assert!(ended.stderr.contains("`run`: found a boolean; expected a string\n"), "{ended:?}");
    assert!(!ended.stderr.contains("PATH"), "what is left is no program: {ended:?}");
}

#[test]
fn a_variable_in_the_place_of_a_plan_is_named_without_its_value() {
    let scratch = Scratch::new();
    let says = "`API_KEY=…` is a variable and no plan; a program goes after `--`, and its \
                variables before quell: `API_KEY=… quell run -- make`";
    for (args, says) in [
        (&["run", "API_KEY=hush"][..], says),
        (&["run", "API_KEY=hush.toml"], "API_KEY=…"),
        (&["run", "./API_KEY=hush"], "component `./API_KEY=…`: a plan would be a file"),
        (&["run", "API_KEY=hush", "make"], "a program goes after `--`, and its variables before"),
        (&["run", "env", "API_KEY=hush", "make"], "its variables before quell"),
        (&["run", "plan.toml", "API_KEY=hush"], "unexpected argument 'API_KEY=…' found"),
        (&["serve", "API_KEY=hush"], "unexpected argument 'API_KEY=…' found"),
        (&["run", "https://u:hush@h/x"], "component `https://…`: a plan would be a file"),
    ] {
        let ended = scratch.run(args);
        ended.assert_code(2);
        without_secret(&ended);
        assert!(ended.stderr.contains(says), "{args:?}: {ended:?}");
    }
    scratch.write("quell.toml", "[agents.a]\nrun = ['true']\n");
    let ended = scratch.run(&["run", "agent/A=hush"]);
    ended.assert_code(2);
    without_secret(&ended);
    assert!(ended.stderr.contains("unknown component `agent/A=…`; expected one of"), "{ended:?}");
}

#[test]
fn what_stands_in_the_place_of_a_word_a_uuid_or_a_table_is_told_what_is_right() {
    let scratch = Scratch::new();
    for (text, says) in [
        ("[teams.t]\nmode = 3\n", "`mode`: expected a word, in quotes"),
        (
            "[agents.a]\nrun = ['true']\nreducers = { log = 3 }\n",
            "`log`: expected a word, in quotes",
        ),
        (
            "[[playbook3d.teams]]\nid = 'x'\nname = 'y'\n",
            "`id`: expected a UUID such as \"11111111-",
        ),
        (
            "[agents]\nrun = ['true']\n",
            "each component has one of its own, such as `[agents.writer]`",
        ),
        ("[agents.a]\nrun = ['sh -c hush']\n", "program `sh…` is not in PATH; no shell reads it: "),
        ("[agents.a]\nurl = 'localhost:80/x'\n", "`url`: no scheme and host; expected one such as"),
        (
            "[agents.a]\nrun = ['true']\n[teams.t]\nmode = 'coordinate'\nmembers = ['a']\n\
             max = 1\n",
            "mode `coordinate` has no `leader`; expected `leader`, one of `members`",
        ),
    ] {
        let said = sentences(&scratch, text);
        assert!(said.contains(says), "{text}: {said}");
    }
}
