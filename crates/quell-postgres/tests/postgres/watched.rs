//! Who is told of what is new in a log, and who is not.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use quell::{CancelRequest, RunContext, RunSpec};
use quell_core::RunId;
use quell_core::cluster::{Cluster as _, LogWatch};
use quell_core::store::Store as _;
use quell_postgres::PostgresNode;
use quell_test_support::records::event;
use quell_test_support::{soon, within};
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::crew::{bare, engine, join, live, on_threads};
use crate::fixture::Place;

/// A session that hears what members hear, as the server sends it.
struct Ear {
    client: Client,
    heard: Arc<Mutex<Vec<String>>>,
    _driven: JoinHandle<()>,
}

impl Ear {
    async fn open(place: &Place<'_>) -> Self {
        soon("both listen", || place.sessions("query like 'listen %'") == 2).await;
        let address = place.server.address(&place.database);
        let (client, mut connection) = tokio_postgres::connect(&address, NoTls).await.unwrap();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let to = Arc::clone(&heard);
        let driven = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                // What a member says to itself when it has begun to listen, nobody else minds.
                if let AsyncMessage::Notification(note) = message
                    && note.payload() != "itself"
                {
                    to.lock().unwrap().push(note.payload().to_owned());
                }
            }
        });
        let rows = client
            .query(
                "select query from pg_stat_activity
                where query like 'listen %' and datname = current_database()",
                &[],
            )
            .await
            .unwrap();
        for row in rows {
            client.batch_execute(row.get(0)).await.unwrap();
        }
        // It does not look like a member any more.
        client.batch_execute("select 1").await.unwrap();
        Self { client, heard, _driven: driven }
    }

    /// Yields what was heard so far.
    async fn words(&self) -> Vec<String> {
        // What was notified before comes before the end of a statement.
        self.client.batch_execute("select 1").await.unwrap();
        self.heard.lock().unwrap().clone()
    }

    /// Yields how often a member was told of something new.
    async fn news(&self) -> Vec<String> {
        self.words().await.into_iter().filter(|words| words.starts_with("news")).collect()
    }
}

/// Appends events of a run until who watches it is told.
async fn until_told(on: &PostgresNode, run: RunId, seq: &mut u64, watch: &mut Box<dyn LogWatch>) {
    let told = async {
        loop {
            *seq += 1;
            let epoch = quell_core::store::Epoch::new(on.boot(), 1);
            on.append(vec![event(run, epoch, *seq)]).await.unwrap();
            let pause = std::time::Duration::from_millis(50);
            if tokio::time::timeout(pause, watch.heard()).await.is_ok() {
                return;
            }
        }
    };
    within("it is told", told).await;
}

#[test]
fn who_reads_on_another_member_is_told_of_what_was_committed_and_of_nothing_else() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let ear = Ear::open(&place).await;
        let (run, other) = (RunId::from_text("r"), RunId::from_text("other"));
        bare(&a, run).await.unwrap();
        let of_other = bare(&a, other).await.unwrap();
        let mut watch = b.watch(run).unwrap();
        assert!(watch.is_told());
        let mut seq = 0;
        until_told(&a, run, &mut seq, &mut watch).await;
        assert!(!b.events(run, 0, 9).await.unwrap().is_empty(), "it is there by then");
        for seq in 1..=20 {
            a.append(vec![event(other, of_other, seq)]).await.unwrap();
        }
        let text = run.as_uuid().simple().to_string();
        let news = ear.news().await;
        assert!(!news.is_empty(), "it was told for that reason");
        assert!(news.iter().all(|words| *words == format!("news {text}")), "{news:?}");
        // Once more, of two who read.
        let mut second = b.watch(run).unwrap();
        until_told(&a, run, &mut seq, &mut second).await;
        within("so is the first", watch.heard()).await;
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn a_run_that_nobody_watches_from_another_member_causes_no_notification() {
    let place = Place::shared();
    on_threads(async {
        let (node_a, node_b) = (join(&place, "a").await, join(&place, "b").await);
        let a = engine(&node_a);
        let ear = Ear::open(&place).await;
        for nth in 0..20 {
            let body = async |ctx: RunContext| {
                ctx.emit("a word");
                Ok(())
            };
            let run = a.submit_durably(RunSpec::agent("a run"), body).await.unwrap().into_ref();
            run.ended().await;
            run.stored().await.unwrap();
            let run = live(&a, &format!("live {nth}")).await;
            run.cancel_durably(CancelRequest::because("enough")).await.1.unwrap();
            run.quiescent().await;
            run.stored().await.unwrap();
        }
        assert_eq!(ear.words().await, Vec::<String>::new());
        // It would hear them.
        let far = live(&a, "far").await;
        let _watch = node_b.watch(far.id()).unwrap();
        soon("it is said", || !ear.heard.lock().unwrap().is_empty()).await;
        node_a.close().await.unwrap();
        node_b.close().await.unwrap();
    });
}

#[test]
fn many_events_are_told_of_together() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let ear = Ear::open(&place).await;
        let runs: Vec<_> = (0..4).map(|nth| RunId::from_text(&format!("run {nth}"))).collect();
        let (mut watches, mut seq) = (Vec::new(), 0);
        for run in &runs {
            bare(&a, *run).await.unwrap();
            let mut watch = b.watch(*run).unwrap();
            until_told(&a, *run, &mut seq, &mut watch).await;
            watches.push(watch);
        }
        let (before, began) = (ear.news().await.len(), Instant::now());
        let epoch = quell_core::store::Epoch::new(a.boot(), 1);
        for _ in 0..100 {
            seq += 1;
            a.append(runs.iter().map(|run| event(*run, epoch, seq)).collect()).await.unwrap();
        }
        for watch in &mut watches {
            within("all are told", watch.heard()).await;
        }
        let most = began.elapsed().as_millis() / 20 + 2;
        let news = ear.news().await.len() - before;
        println!("400 events in 100 commits: {news} notifications in {:?}", began.elapsed());
        assert!(news as u128 <= most, "{news} notifications, at most {most}");
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}

#[test]
fn what_a_member_reads_it_says_again_when_its_listener_was_lost() {
    let place = Place::shared();
    on_threads(async {
        let (a, b) = (join(&place, "a").await, join(&place, "b").await);
        let ear = Ear::open(&place).await;
        let run = RunId::from_text("r");
        bare(&a, run).await.unwrap();
        let mut watch = b.watch(run).unwrap();
        let said = || ear.heard.lock().unwrap().iter().filter(|it| it.starts_with("reads")).count();
        soon("it is said", || said() == 1).await;
        place.end_sessions("query like 'listen %'");
        // Whoever reads looks: a word may have been lost.
        within("it looks", watch.heard()).await;
        soon("it is said again", || said() > 1).await;
        let mut seq = 0;
        until_told(&a, run, &mut seq, &mut watch).await;
        a.close().await.unwrap();
        b.close().await.unwrap();
    });
}
