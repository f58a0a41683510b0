//! Lists on several nodes: they are the same on all, and a part reads the store once, also if
//! another node has forgotten runs that this one has in memory.

use std::sync::Arc;

use quell::testing::cluster::Nodes;
use quell::{Engine, EngineConfig, RunFilter, RunId, RunRef, RunSpec};
use quell_http::{NATIVE, Principal, Service, View};
use quell_test_support::{Counted, Witness, ms, secs};

use crate::support::service_with;

/// A service on a node of its own, whose reads are counted.
fn join(nodes: &Nodes, name: &str) -> (Service, Arc<Counted>) {
    let node = nodes.join(name);
    let store = Counted::of(Arc::clone(&node) as _);
    let config = EngineConfig::new().store(Arc::clone(&store) as _).cluster(node as _);
    (service_with(config.control_on_runtime(), &Witness::default()), store)
}

/// Yields a run that has ended, and is stored.
async fn ended(engine: &Engine) -> RunRef {
    let run = engine.submit(RunSpec::agent("short"), async |_| Ok(())).unwrap().into_ref();
    run.quiescent().await;
    run.stored().await.unwrap();
    // The next one is of another millisecond.
    tokio::time::sleep(ms(1)).await;
    run
}

/// A list that is read by parts.
#[derive(Default)]
struct Walk {
    runs: Vec<RunId>,
    /// How many runs each part has, and how often it has read the store.
    parts: Vec<(usize, usize)>,
}

impl Walk {
    async fn of(view: &View, store: &Counted, limit: usize) -> Self {
        let (mut walk, mut after) = (Self::default(), None);
        loop {
            let before = store.reads();
            let page = view.list(RunFilter::new(), limit, after, |_| true).await.unwrap();
            walk.parts.push((page.runs.len(), store.reads() - before));
            walk.runs.extend(page.runs.iter().map(quell_http::RunView::id));
            after = page.next;
            if after.is_none() {
                return walk;
            }
        }
    }

    /// Yields how often the part that has read most has read the store.
    fn most(&self) -> usize {
        self.parts.iter().map(|(_, reads)| *reads).max().unwrap()
    }

    fn reads(&self) -> usize {
        self.parts.iter().map(|(_, reads)| reads).sum()
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_list_reads_one_page_of_the_store_however_many_were_forgotten() {
    const GONE: usize = 500;
    let nodes = Nodes::new(secs(15));
    let ((a, store), (b, other)) = (join(&nodes, "a"), join(&nodes, "b"));
    let (mut left, mut gone) = (Vec::new(), Vec::new());
    for nth in 0..GONE + 40 {
        let of = if (20..GONE + 20).contains(&nth) { &mut gone } else { &mut left };
        of.push(ended(a.engine()).await.id());
    }
    left.reverse();
    let [at_a, at_b] = [&a, &b].map(|service| service.view(NATIVE, Principal::anonymous()));
    let whole = Walk::of(&at_a, &store, 100).await;
    assert_eq!((whole.runs.len(), whole.most()), (GONE + 40, 1), "{:?}", whole.parts);
    for run in gone {
        b.engine().forget_stored(run).await.unwrap();
    }
    for (view, store) in [(&at_a, &store), (&at_b, &other)] {
        for limit in [1, 10, 100] {
            let walk = Walk::of(view, store, limit).await;
            assert_eq!(walk.runs, left, "{limit} at once");
            let most = (walk.most(), walk.reads());
            assert_eq!(most, (1, walk.parts.len()), "{limit} at once: {:?}", walk.parts);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn parts_of_a_list_that_several_nodes_give_have_each_run_once() {
    let (nodes, mut runs) = (Nodes::new(secs(15)), Vec::new());
    let ((a, of_a), (b, of_b)) = (join(&nodes, "a"), join(&nodes, "b"));
    for ((late, store), early) in [((&a, &of_a), &b), ((&b, &of_b), &a), ((&a, &of_a), &b)] {
        // Accepted first, and stored last.
        store.hold(true);
        let run = late.engine().submit(RunSpec::agent("late"), async |_| Ok(())).unwrap();
        tokio::time::sleep(ms(20)).await;
        runs.push(ended(early.engine()).await.id());
        store.hold(false);
        let run = run.into_ref();
        run.quiescent().await;
        run.stored().await.unwrap();
        runs.push(run.id());
    }
    runs.reverse();
    let views = [a, b].map(|service| service.view(NATIVE, Principal::anonymous()));
    for limit in 1..=7 {
        for first in [0, 1] {
            let (mut listed, mut after) = (Vec::new(), None);
            for view in views.iter().cycle().skip(first) {
                let page = view.list(RunFilter::new(), limit, after, |_| true).await.unwrap();
                listed.extend(page.runs.iter().map(quell_http::RunView::id));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(listed, runs, "{limit} at once, from {first}");
        }
    }
}
