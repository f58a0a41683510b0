//! `quell ps`, `quell nodes`, `quell pause` and `quell resume`.

use serde_json::{Value, json};

use super::{ask, lines, start, words};
use crate::site::{Site, end_of};
use crate::support::wait_until;

#[test]
fn runs_are_listed_by_what_is_asked_for() {
    let site = Site::demo(&[]);
    let nobody = ask(&site, &["ps"]);
    nobody.assert_code(0);
    assert!(nobody.stdout.is_empty() && nobody.stderr.contains("has no such run"), "{nobody:?}");
    start(&site, "workflow/slow", "a", &json!({}));
    start(&site, "workflow/nested", "b b/c", &json!({}));
    let labels = json!({ "component": "workflow/echo", "id": "c", "labels": { "team": "x y" } });
    assert_eq!(site.post("/v1/runs", &labels).0, 201);
    end_of(&site, "c");
    let ids = |args: &[&str]| {
        let ended = ask(&site, &[&["ps", "--json"], args].concat());
        ended.assert_code(0);
        let ids = lines(&ended).into_iter().map(|run| run["id"].as_str().expect("text").to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]), ["b b/c", "a"], "the newest first, without those that have ended");
    assert_eq!(ids(&["--all"]), ["c", "b b/c", "a"]);
    assert_eq!(ids(&["--all", "--limit", "2"]), ["c", "b b/c"]);
    assert_eq!(ids(&["--all", "--limit", "0"]), ["c", "b b/c", "a"]);
    assert_eq!(ids(&["--status", "completed", "--status", "failed"]), ["c"]);
    assert_eq!(ids(&["--component", "workflow/slow"]), ["a"]);
    assert_eq!(ids(&["--all", "--label", "team=x y"]), ["c"]);
    assert_eq!(ids(&["--kind", "agent"]), [""; 0]);
    assert_eq!(ids(&["--owner", "nobody"]), [""; 0]);
    let table = ask(&site, &["ps", "-a"]).stdout;
    let rows = words(&table);
    assert_eq!(rows.len(), 3, "{table}");
    assert!(rows[0].starts_with(&["c", "completed"]), "{table}");
    assert_eq!(rows[0].last(), Some(&"workflow/echo"), "{table}");
    let columns: Vec<_> = table.lines().map(|line| line.find("workflow/")).collect();
    assert!(columns.iter().all(|at| *at == columns[0]), "{table}");
}

#[test]
fn more_runs_than_a_page_has_are_listed() {
    let site = Site::demo(&[]);
    for number in 0..105 {
        start(&site, "workflow/echo", &format!("r-{number}"), &Value::Null);
    }
    for (limit, count) in [("103", 103), ("0", 105), ("7", 7)] {
        let ended = ask(&site, &["ps", "-a", "--limit", limit]);
        assert_eq!(ended.assert_code(0).stdout.lines().count(), count);
    }
}

#[test]
fn a_server_that_is_none_of_several_is_the_only_node() {
    let site = Site::demo(&[]);
    let listed = ask(&site, &["nodes"]);
    listed.assert_code(0);
    let rows = words(&listed.stdout);
    assert!(rows[0].starts_with(&["(alone)", "connected", "no", "lease", "0", "live,"]));
    let pid = site.pid();
    assert!(listed.stdout.contains(&format!("pid {pid}")), "{listed:?}");
    let (_, nodes) = site.get("/v1/nodes");
    let told = lines(&ask(&site, &["nodes", "--json"])).remove(0);
    assert_eq!(told["process"], nodes["nodes"][0]["process"]);
    let both = ask(&site, &["nodes", "--store", "postgres://u@h/d", "--server", "http://a"]);
    assert!(both.assert_code(2).stderr.contains("a store and a server are named"), "{both:?}");
}

#[test]
fn a_run_pauses_and_goes_on_with_its_answer() {
    let site = Site::demo(&[]);
    start(&site, "workflow/interrupting", "p", &Value::Null);
    wait_until("it is paused", || site.get("/v1/runs/p").1["status"] == "paused");
    let paused = ask(&site, &["pause", "p"]);
    assert_eq!(paused.assert_code(0).stdout, "p  paused: it waits for an answer (attempt 1)\n");
    let other = ask(&site, &["resume", "p", "yes", "--attempt", "7"]);
    other.assert_code(2);
    assert!(other.stderr.contains("(409)"), "{other:?}");
    let resumed = ask(&site, &["resume", "p", "{\"a\": 1}", "--json"]);
    assert_eq!(lines(resumed.assert_code(0))[0]["attempt"], 2);
    let run = end_of(&site, "p");
    assert_eq!(run["status"], "completed", "{run}");
    let again = ask(&site, &["resume", "p", "yes"]);
    again.assert_code(2);
    assert!(again.stdout.is_empty() && again.stderr.starts_with("error: http://"), "{again:?}");
    let none = ask(&site, &["pause", "nobody"]);
    none.assert_code(2);
    assert!(none.stderr.contains("`quell ps --all` lists the runs"), "{none:?}");
}
