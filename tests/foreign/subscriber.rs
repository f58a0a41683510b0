//! A subscriber of `tracing` that acts, for the runs that bear a name of it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_core::span::Current;

use super::actor::Actor;
use super::places::Place;

static INSTALLED: Once = Once::new();

/// Yields the name of a run in which the subscriber acts, if it is to.
pub(super) fn name(place: Place, actor: &Arc<Actor>) -> String {
    if !is_of_spans(place) {
        return "child".to_owned();
    }
    install();
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let name = format!("foreign {number}");
    books().names.insert(name.clone(), (place, Arc::clone(actor)));
    name
}

fn install() {
    INSTALLED.call_once(|| {
        tracing::subscriber::set_global_default(Router).expect("there is no other one");
    });
}

/// Keeps what is told of a run, or of a limit, from now on. A place in the code that told something
/// at the instant of the installation, for the first time, may have kept that nobody listens: it
/// asks again.
pub(crate) fn heed(name: &str) {
    install();
    tracing::callsite::rebuild_interest_cache();
    let mut books = books();
    books.told.insert(name.to_owned(), Vec::new());
    books.seen.insert(name.to_owned(), Vec::new());
}

/// Yields what was told of a run, or of a limit, with all fields.
pub(crate) fn told_of(name: &str) -> Vec<String> {
    books().told.get(name).cloned().unwrap_or_default()
}

/// Yields the spans of a run that is heeded, in the order in which they were made.
pub(crate) fn spans_of(name: &str) -> Vec<Seen> {
    books().seen.get(name).cloned().unwrap_or_default()
}

/// The span of a run that is heeded.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    number: u64,
    /// The name of the run whose span is around it.
    pub(crate) parent: Option<String>,
    /// What was said when it was made, and since.
    pub(crate) fields: String,
    /// What was told inside it.
    pub(crate) inside: Vec<String>,
    pub(crate) is_closed: bool,
}

const fn is_of_spans(place: Place) -> bool {
    matches!(
        place,
        Place::SpanMade
            | Place::SpanEntered
            | Place::SpanExited
            | Place::SpanRecorded
            | Place::SpanClosed
            | Place::EventTold
    )
}

static MADE: AtomicU64 = AtomicU64::new(1);

#[derive(Default)]
struct Books {
    names: HashMap<String, (Place, Arc<Actor>)>,
    open: HashMap<u64, Open>,
    told: HashMap<String, Vec<String>>,
    seen: HashMap<String, Vec<Seen>>,
}

/// A span that has not closed.
struct Open {
    metadata: &'static Metadata<'static>,
    name: String,
    seat: Option<(Place, Arc<Actor>)>,
    /// How many hold it.
    holders: usize,
}

impl Books {
    /// Yields what is seen of a span, if its run is heeded.
    fn seen(&mut self, number: u64) -> Option<&mut Seen> {
        let name = &self.open.get(&number)?.name;
        self.seen.get_mut(name)?.iter_mut().find(|seen| seen.number == number)
    }
}

thread_local! {
    /// The spans that this thread is in, the innermost last.
    static INSIDE: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Yields the span that this thread is in. None while the thread ends.
fn innermost() -> Option<u64> {
    INSIDE.try_with(|inside| inside.borrow().last().copied()).ok().flatten()
}

fn books() -> MutexGuard<'static, Books> {
    static BOOKS: OnceLock<Mutex<Books>> = OnceLock::new();
    BOOKS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends what it is told to the actor of the run.
struct Router;

impl Router {
    fn at_span(span: &Id, place: Place) {
        let seat = books().open.get(&span.into_u64()).and_then(|open| open.seat.clone());
        act(seat, place);
    }
}

fn act(seat: Option<(Place, Arc<Actor>)>, place: Place) {
    if let Some((wanted, actor)) = seat.filter(|(wanted, _)| *wanted == place) {
        let _ = wanted;
        actor.act();
    }
}

impl Subscriber for Router {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("quell")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut named = Named::default();
        span.record(&mut named);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let parent = if span.is_contextual() { innermost() } else { None };
        let parent = parent.or_else(|| span.parent().map(Id::into_u64));
        let seat = {
            let mut books = books();
            let Named { name, fields } = named;
            let parent = parent.and_then(|it| books.open.get(&it)).map(|open| open.name.clone());
            if let Some(seen) = books.seen.get_mut(&name) {
                let inside = Vec::new();
                seen.push(Seen { number, parent, fields, inside, is_closed: false });
            }
            let seat = books.names.get(&name).cloned();
            let (metadata, held) = (span.metadata(), seat.clone());
            books.open.insert(number, Open { metadata, name, seat: held, holders: 1 });
            seat
        };
        act(seat, Place::SpanMade);
        Id::from_u64(number)
    }

    fn record(&self, span: &Id, record: &Record<'_>) {
        let mut named = Named::default();
        record.record(&mut named);
        if let Some(seen) = books().seen(span.into_u64()) {
            seen.fields += &named.fields;
        }
        Self::at_span(span, Place::SpanRecorded);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut named = Named::default();
        event.record(&mut named);
        let seat = books().names.get(&named.name).cloned();
        {
            let mut books = books();
            if let Some(seen) = innermost().and_then(|it| books.seen(it)) {
                seen.inside.push(named.fields.clone());
            }
            if let Some(told) = books.told.get_mut(&named.name) {
                told.push(named.fields);
            }
        }
        act(seat, Place::EventTold);
    }

    fn enter(&self, span: &Id) {
        Self::at_span(span, Place::SpanEntered);
        // Not if that has panicked: then it is not left either.
        let number = span.into_u64();
        let _ = INSIDE.try_with(|inside| inside.borrow_mut().push(number));
    }

    fn exit(&self, span: &Id) {
        let number = span.into_u64();
        let _ = INSIDE.try_with(|inside| {
            let mut inside = inside.borrow_mut();
            if let Some(place) = inside.iter().rposition(|it| *it == number) {
                inside.remove(place);
            }
        });
        Self::at_span(span, Place::SpanExited);
    }

    fn clone_span(&self, span: &Id) -> Id {
        if let Some(open) = books().open.get_mut(&span.into_u64()) {
            open.holders += 1;
        }
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let number = span.into_u64();
        let seat = {
            let mut books = books();
            let Some(open) = books.open.get_mut(&number) else { return false };
            open.holders -= 1;
            if open.holders > 0 {
                return false;
            }
            if let Some(seen) = books.seen(number) {
                seen.is_closed = true;
            }
            books.open.remove(&number).and_then(|open| open.seat)
        };
        act(seat, Place::SpanClosed);
        true
    }

    fn current_span(&self) -> Current {
        let Some(number) = innermost() else { return Current::none() };
        let books = books();
        let Some(open) = books.open.get(&number) else { return Current::none() };
        Current::new(Id::from_u64(number), open.metadata)
    }
}

/// The name of a run, or of a limit, among the fields of a span or an event.
#[derive(Default)]
struct Named {
    name: String,
    fields: String,
}

impl Visit for Named {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if matches!(field.name(), "run.name" | "limit") {
            self.name = format!("{value:?}");
        }
        // A string takes all that is written.
        let _ = write!(self.fields, "{field}={value:?} ");
    }
}
