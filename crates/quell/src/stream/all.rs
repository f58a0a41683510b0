//! [`poll_all`] reads the next event of a whole engine.

use std::task::{Context, Poll};

use quell_core::{EventKind, RunEvent};

use crate::log::firehose::AllEvents;
use crate::log::ring::Read;
use crate::metrics::Counters;
use crate::sync::waiters::{Key, Offer};

/// Reads the event with this number, or the word that it is gone, and counts it.
pub(super) fn poll_all(
    all: &AllEvents,
    seq: &mut u64,
    key: &mut Key,
    counters: &Counters,
    cx: &Context<'_>,
) -> Poll<Option<RunEvent>> {
    let mut offer = Offer::new(cx.waker(), key, true);
    loop {
        let mut firehose = all.lock();
        match firehose.ring.read(*seq) {
            Read::Entry(event) => {
                *seq += 1;
                return Poll::Ready(Some(event));
            }
            Read::Gone { first } => {
                let from = std::mem::replace(seq, first);
                // Made of the oldest event, which is there: this ring holds more than none.
                let Read::Entry(mut event) = firehose.ring.read(first) else { continue };
                counters.reader_lagged();
                event.seq = 0;
                event.kind = EventKind::Lagged { from, to: first - 1 };
                return Poll::Ready(Some(event));
            }
            Read::Nothing if firehose.closed => return Poll::Ready(None),
            Read::Nothing if firehose.ring.wait(key, &mut offer) => return Poll::Pending,
            Read::Nothing => {}
        }
        drop(firehose);
        offer.renew();
    }
}
