//! The suite that every store passes.

use quell::testing;
use quell_postgres::{PostgresOptions, PostgresStore};

use crate::fixture::{Place, block_on};

fn passes(options: &PostgresOptions) {
    let next = std::cell::Cell::new(0);
    let make = async || {
        next.set(next.get() + 1);
        let mut options = options.clone();
        options.schema = format!("store {}", next.get());
        PostgresStore::open(options).await.unwrap()
    };
    let cases = block_on(testing::store::check(make));
    assert!(cases.as_ref().is_ok_and(|cases| *cases > 25), "{cases:?}");
}

#[test]
fn it_keeps_every_promise_of_a_store() {
    passes(&Place::shared().options());
}

#[test]
fn it_keeps_them_with_the_narrowest_options() {
    let mut options = Place::shared().options();
    (options.readers, options.queue_records_max, options.queue_bytes_max) = (0, 0, 0);
    options.accepts_asynchronous_commit = true;
    passes(&options);
}
