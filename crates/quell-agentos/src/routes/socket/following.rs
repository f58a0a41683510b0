//! [`Following`]: the runs whose events one socket has.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt as _};
use quell::RunId;
use quell_http::Cut;

/// The streams of a socket, each of another run.
#[derive(Default)]
pub(super) struct Following {
    all: Vec<Followed>,
    /// Which is asked first, so that one that always has something does not keep the others back.
    next: usize,
}

/// A run that a client follows.
pub(super) struct Followed {
    pub(super) run: RunId,
    /// As its caller knows it.
    pub(super) external_id: String,
    /// Whether this node has it, or has had it.
    pub(super) is_here: bool,
    pub(super) texts: BoxStream<'static, Result<Bytes, Cut>>,
}

/// What comes of a run: a text, or that its stream was cut.
pub(super) type Text = Result<Bytes, (String, Cut)>;

impl Following {
    /// Adds a run. A stream of the same run that the socket has ends: its client asks anew.
    pub(super) fn add(&mut self, followed: Followed) {
        self.all.retain(|known| known.run != followed.run);
        self.all.push(followed);
    }

    /// Tells whether one more run may be added.
    pub(super) fn has_room_for(&self, run: Option<&str>) -> bool {
        let has = |run: &str| self.all.iter().any(|known| known.external_id == run);
        self.all.len() < FOLLOWED_MAX || run.is_some_and(has)
    }

    /// Leaves the runs of other nodes.
    pub(super) fn leave_others(&mut self) {
        self.all.retain(|followed| followed.is_here);
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// Without a run it is pending: there may be one later.
impl Stream for Following {
    type Item = Text;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Text>> {
        let this = self.get_mut();
        let mut left = this.all.len();
        while left > 0 {
            left -= 1;
            let at = this.next % this.all.len();
            this.next = at + 1;
            match this.all[at].texts.poll_next_unpin(cx) {
                Poll::Pending => {}
                Poll::Ready(Some(Ok(text))) => return Poll::Ready(Some(Ok(text))),
                Poll::Ready(over) => {
                    let followed = this.all.remove(at);
                    this.next = at;
                    if let Some(Err(cut)) = over {
                        return Poll::Ready(Some(Err((followed.external_id, cut))));
                    }
                }
            }
        }
        Poll::Pending
    }
}

/// How many runs one socket follows, as many as upstream's.
const FOLLOWED_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::stream::{self, repeat};

    use super::*;

    fn followed(run: &str, texts: BoxStream<'static, Result<Bytes, Cut>>) -> Followed {
        let id = RunId::from_text(run);
        Followed { run: id, external_id: run.into(), is_here: run != "far", texts }
    }

    #[test]
    fn each_run_has_its_turn_one_that_is_over_leaves_and_one_that_is_asked_anew_begins_anew() {
        let mut all = Following::default();
        assert!(all.next().now_or_never().is_none(), "there may be one later");
        let text = |text: &'static str| Bytes::from_static(text.as_bytes());
        all.add(followed("a", repeat(Ok(text("a"))).boxed()));
        all.add(followed("b", stream::iter([Ok(text("b")), Ok(text("b"))]).boxed()));
        all.add(followed("c", stream::iter([Err(Cut)]).boxed()));
        let mut next = || match all.next().now_or_never().flatten() {
            Some(Ok(text)) => String::from_utf8(text.to_vec()).unwrap(),
            Some(Err((run, Cut))) => format!("{run} is cut"),
            None => "nothing".into(),
        };
        let told: Vec<_> = (0..6).map(|_| next()).collect();
        assert_eq!(told, ["a", "b", "c is cut", "a", "b", "a"]);
        assert_eq!((next(), all.len()), ("a".into(), 1), "that of `b` is over");
        all.add(followed("far", repeat(Ok(text("far"))).boxed()));
        all.add(followed("a", stream::iter([Ok(text("anew"))]).boxed()));
        assert_eq!(all.len(), 2);
        all.leave_others();
        assert_eq!(all.next().now_or_never(), Some(Some(Ok(text("anew")))));
        assert!(all.next().now_or_never().is_none() && all.is_empty());
    }

    #[test]
    fn there_are_no_more_than_the_bound_and_one_that_is_there_needs_no_room() {
        let mut all = Following::default();
        for run in 0..FOLLOWED_MAX {
            assert!(all.has_room_for(None));
            all.add(followed(&run.to_string(), stream::pending().boxed()));
        }
        assert!(!all.has_room_for(None) && !all.has_room_for(Some("other")));
        assert!(all.has_room_for(Some("7")));
    }
}
