//! Sessions of runs that are only in the store, or that another node has.

use std::sync::Arc;

use quell::Shutdown;
use quell::store::{MemoryStore, StoreError};

use crate::continued_again::{place, process, remove};
use crate::nodes::two;
use crate::restart::nth;
use crate::sessions::{SHORT, each, ran};
use crate::support::Site;
use crate::support::http::start;

/// Yields all that is read of the sessions of these tests.
async fn told(site: &Site) -> Vec<String> {
    let mut texts = Vec::new();
    let mut paths: Vec<_> =
        ["", "/s", "/s/runs", "/t?type=agent", "/t/runs"].map(|it| format!("/sessions{it}")).into();
    paths.extend(SHORT.map(|(path, _, _)| format!("{path}/runs?session_id=s")));
    for path in paths {
        let answer = site.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        texts.push(answer.text);
    }
    texts
}

async fn fill(site: &Site) {
    for (path, _, _) in SHORT {
        ran(site, path, "ticks=2 tick_ms=0", "s").await;
    }
    ran(site, SHORT[0].0, "another", "t").await;
}

#[tokio::test]
async fn sessions_are_read_after_a_restart_as_before_it() {
    let store = Arc::new(MemoryStore::new());
    let (site, _) = nth(1, &store).await;
    fill(&site).await;
    let before = told(&site).await;
    site.service.engine().shutdown(Shutdown::default()).await;
    let (site, valve) = nth(2, &store).await;
    assert_eq!(told(&site).await, before);
    valve.fail_reads(StoreError::Io { what: "secret-path".into() });
    for path in ["/sessions", "/sessions/s", "/agents/short-agent/runs?session_id=s"] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, 503, "{path}: {answer:?}");
        assert!(!answer.text.contains("secret-path"));
    }
}

#[tokio::test]
async fn sessions_are_read_from_a_file_as_they_were_in_memory() {
    let (file, copy) = (place(), place());
    let site = process(&file).await;
    fill(&site).await;
    let before = told(&site).await;
    site.service.engine().shutdown(Shutdown::default()).await;
    quell_sqlite::backup(&file, &copy).unwrap();
    assert_eq!(told(&process(&copy).await).await, before);
    for file in [file, copy] {
        remove(&file);
    }
}

#[tokio::test]
async fn each_node_lists_the_sessions_of_all() {
    let (a, b) = two();
    fill(&a).await;
    let path = "/agents/slow-agent";
    let run = start(&a, path, "ticks=100000", "live").await;
    assert_eq!(told(&b).await, told(&a).await);
    for site in [&a, &b] {
        let list = site.get(&format!("{path}/runs?session_id=live&status=RUNNING")).await.json();
        assert_eq!(each(&list, "run_id"), [&*run]);
    }
}
