//! Stops of runs that another node has.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use quell::{CancelRequest, Disposition};
use quell_benches::figures::section;
use quell_benches::race::is_long;

use crate::place::{Place, percentiles};

pub(crate) fn measure(place: &Place) {
    section("stop of a run on another node", "one after the other; the run waits for it");
    let database = place.database();
    let (a, b) = (database.join("a"), database.join("b"));
    let (mut signalled, mut answered) = (Vec::new(), Vec::new());
    for nth in 0..if is_long() { 2_000 } else { 400 } {
        let (tell, told) = mpsc::channel();
        let run = a.waiting(move || async move {
            let _ = tell.send(Instant::now());
        });
        let began = Instant::now();
        let asked = b.engine.cancel_anywhere(run.id(), CancelRequest::because("enough"));
        let answer = b.runtime.block_on(asked).expect("it is asked");
        let took = began.elapsed();
        assert!(matches!(answer, Disposition::Accepted { .. }), "the owner decides: {answer:?}");
        let at = told.recv().expect("the body ends");
        // Sessions are opened by the first ones.
        if nth >= 5 {
            answered.push(took);
            signalled.push(at - began);
        }
        a.runtime.block_on(run.quiescent_status());
    }
    percentiles("stop/signalled", signalled, [3, 10].map(Duration::from_millis));
    percentiles("stop/answered", answered, [5, 15].map(Duration::from_millis));
    a.close();
    b.close();
}
