//! `[store]` of `quell.toml`: where runs are kept and for how long, unless the command line says.

use std::fs;

use serde_json::json;

use crate::check::checked;
use crate::site::Site;
use crate::support::{Scratch, wait_until};

/// Counts the runs in the file of a store.
fn stored(scratch: &Scratch, store: &str) -> usize {
    scratch.run(&["runs", "--store", store]).stdout.lines().count()
}

/// Serves, runs something to its end if that is asked for, and ends.
fn served(scratch: Scratch, args: &[&str], runs: usize) -> Scratch {
    let site = Site::with(scratch, args);
    for run in 0..runs {
        let (status, answer) = site.post("/v1/runs", &json!({ "component": "agent/cat" }));
        assert_eq!(status, 201, "{run}: {answer}");
    }
    site.signal("TERM");
    let (ended, scratch) = site.ended();
    ended.assert_code(0);
    scratch
}

#[test]
fn the_store_of_the_file_is_beside_it_and_the_one_of_the_command_line_wins() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("conf")).expect("a folder");
    let file = "[store]\npath = 'runs.db'\n[agents.cat]\nrun = ['cat']\n";
    scratch.write("conf/quell.toml", file);
    let config = ["--config", "conf/quell.toml"];
    let scratch = served(scratch, &config, 2);
    assert_eq!(stored(&scratch, "conf/runs.db"), 2);
    let scratch = served(scratch, &[&config[..], &["--store", "own.db"]].concat(), 1);
    assert_eq!((stored(&scratch, "conf/runs.db"), stored(&scratch, "own.db")), (2, 1));
    // What wins may be right where the file is wrong.
    scratch.write("conf/quell.toml", &file.replace("runs.db", "no/runs.db"));
    let scratch = served(scratch, &[&config[..], &["--store", "own.db"]].concat(), 1);
    assert_eq!(stored(&scratch, "own.db"), 2);
    let scratch = served(scratch, &[&config[..], &["--set", "store.path=set.db"]].concat(), 1);
    assert_eq!(stored(&scratch, "conf/set.db"), 1);
}

#[test]
fn what_the_store_keeps_stands_in_the_file_and_each_flag_wins_by_itself() {
    let scratch = Scratch::new();
    for _ in 0..3 {
        scratch.run(&["run", "--store", "runs.db", "--", "true"]).assert_code(0);
    }
    let file = "[store]\npath = 'runs.db'\nkeep = '30d'\nkeep_runs = 2\n\
        [agents.cat]\nrun = ['cat']\n";
    scratch.write("quell.toml", file);
    let site = Site::with(scratch, &[]);
    wait_until("one has left", || stored(&site.scratch, "runs.db") == 2);
    site.signal("TERM");
    let site = Site::with(site.ended().1, &["--keep-runs", "1"]);
    wait_until("two have left", || stored(&site.scratch, "runs.db") == 1);
    site.signal("TERM");
    let site = Site::with(site.ended().1, &["--keep", "0s"]);
    wait_until("all have left", || stored(&site.scratch, "runs.db") == 0);
}

#[test]
fn what_is_wrong_with_the_store_of_a_file_is_told_with_its_line_and_serve_refuses_it() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("folder")).expect("a folder");
    for (store, says) in [
        ("[store]\npaht = 'runs.db'", "2:1: unknown key `paht`; did you mean `path`?"),
        ("[store]\npath = 'no/runs.db'", "2:8: `path`: no/runs.db: no such folder; make it first"),
        ("[store]\npath = 'folder'", "2:8: `path`: folder: is a folder; expected a file in it"),
        ("[store]\npath = ''", "2:8: `path`: names no file; expected one such as `runs.db`"),
        ("[store]\npath = 3", "2:8: `path`: found a number; expected a path"),
        ("[store]\npath = 'r.db'\nkeep = 30", "3:8: `keep`: found a number; expected a text such"),
        ("[store]\npath = 'r.db'\nkeep = '1M'", "3:8: `keep`: `M` of `1M` is a month"),
        ("[store]\npath = 'r.db'\nkeep = '0'", "3:8: `keep`: `0` has no unit; expected \"0s\""),
        ("[store]\npath = 'r.db'\nkeep_runs = -1", "3:13: `keep_runs`: found a number; expected"),
        ("store = 'runs.db'", "1:9: `store`: found a string; expected a table such as `{ path"),
    ] {
        scratch.write("quell.toml", &format!("{store}\n[agents.cat]\nrun = ['cat']\n"));
        let ended = checked(&scratch, &[]);
        ended.assert_code(2);
        let line = format!("error: quell.toml:{says}");
        assert!(ended.stderr.starts_with(&line), "{line}\n{}", ended.stderr);
        assert_eq!(ended.stderr.matches("quell.toml:").count(), 1, "{}", ended.stderr);
        let served = scratch.run(&["serve", "--config", "quell.toml"]);
        served.assert_code(2);
        assert_eq!(served.stderr, ended.stderr);
    }
    // What a command line says of the place `quell check` does not know.
    scratch.write("quell.toml", "[store]\nkeep = '30d'\n[agents.cat]\nrun = ['cat']\n");
    let says = "quell.toml:1:1: `path` is missing; expected the file of the store";
    let ended = checked(&scratch, &[]);
    assert!(ended.assert_code(0).stderr.starts_with(&format!("warning: {says}")), "{ended:?}");
    let ended = scratch.run(&["serve", "--config", "quell.toml"]);
    assert!(ended.assert_code(2).stderr.starts_with(&format!("error: {says}")), "{ended:?}");
    let scratch = served(scratch, &["--store", "runs.db"], 1);
    assert_eq!(stored(&scratch, "runs.db"), 1);
}

#[test]
fn the_store_of_the_example_is_right_once_it_is_no_comment() {
    let scratch = Scratch::new();
    scratch.run(&["init"]).assert_code(0);
    let text = String::from_utf8(scratch.read("quell.toml")).expect("text");
    let (before, store) = text.split_once("# [store]\n").expect("a store");
    let lines = store.split('\n').map(|line| line.strip_prefix("# ").unwrap_or(line));
    let (own, rest): (Vec<_>, Vec<_>) = {
        let lines: Vec<_> = lines.collect();
        let end = lines.iter().position(|line| line.is_empty()).expect("an end");
        (lines[..end].to_vec(), store.split('\n').skip(end).collect())
    };
    assert_eq!(own.len(), 2, "{own:?}");
    let all = format!("{before}[store]\n{}\n{}", own.join("\n"), rest.join("\n"));
    scratch.write("quell.toml", &all);
    checked(&scratch, &[]).assert_code(0);
    let site = Site::with(scratch, &[]);
    assert!(site.scratch.names().contains(&"runs.db".to_owned()));
}
