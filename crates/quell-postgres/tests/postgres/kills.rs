//! Sessions that are killed under load, and servers that lose their power.

use std::sync::Arc;

use quell_core::store::Store;
use quell_test_support::{PostgresServer, soon_in_real_time};

use crate::crew::is_long;
use crate::fixture::Place;
use crate::load::{Load, check};

/// Sessions that are killed: more with `QUELL_LONG=1`.
fn kills() -> usize {
    if is_long() { 120 } else { 40 }
}

/// How often the server is stopped at once: more with `QUELL_LONG=1`.
fn stops() -> u32 {
    if is_long() { 6 } else { 3 }
}

fn on_threads<T>(future: impl Future<Output = T>) -> T {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    threads.worker_threads(2).enable_all().build().unwrap().block_on(future)
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_refused_is_there_when_sessions_are_killed() {
    let place = Place::shared();
    on_threads(async {
        let store = Arc::new(place.open().await.unwrap());
        let load = Load::start(&store, 8);
        let mut killed = 0;
        while killed < kills() {
            // Some are killed before they have stored anything, and some after.
            let before = load.acknowledged() + u32::from(killed % 3 != 0);
            soon_in_real_time("an append", || load.acknowledged() >= before).await;
            killed += usize::from(place.kill());
        }
        let told = load.end().await;
        store.close().await.unwrap();
        let later = place.open().await.unwrap();
        assert_eq!(later.boot(), 2);
        let [acknowledged, refused, in_trouble] = check(&told, &later).await;
        assert!(acknowledged > kills() && refused > 9, "{acknowledged} {refused} {in_trouble}");
        later.close().await.unwrap();
    });
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_refused_is_there_when_the_power_fails() {
    let server = PostgresServer::start(&[]);
    let place = Place::on(&server);
    on_threads(async {
        let store = Arc::new(place.open().await.unwrap());
        let load = Load::start(&store, 8);
        for _ in 0..stops() {
            let before = load.acknowledged();
            soon_in_real_time("some appends", || load.acknowledged() > before + 50).await;
            server.stop_at_once();
            server.start_again();
        }
        let before = load.acknowledged();
        soon_in_real_time("the store is back", || load.acknowledged() > before).await;
        let told = load.end().await;
        store.close().await.unwrap();
        let later = place.open().await.unwrap();
        let [acknowledged, refused, in_trouble] = check(&told, &later).await;
        assert!(
            acknowledged > 50 * stops() as usize && refused > 9,
            "{acknowledged} {refused} {in_trouble}"
        );
        later.close().await.unwrap();
    });
}
