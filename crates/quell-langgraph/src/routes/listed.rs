//! [`Listed`]: what a search finds, counts and shows a part of.

use axum::response::Response;
use quell::Payload;
use quell_http::{View, offload_if_large};
use uuid::Uuid;

use crate::routes::response::{rendered, set_page};
use crate::wire::exact::Keys;
use crate::wire::listing::Listing;
use crate::wire::refusal::Refusal;
use crate::wire::search::{Wanted, Work};

/// A thing that a search may find.
pub(super) trait Listed: Send + 'static {
    /// How large its row is, about.
    fn bytes(&self) -> usize;

    fn metadata(&self) -> Keys;

    /// Yields its place in a list that is sorted by a key.
    fn place(&self, by: &str) -> (String, u64, Uuid);

    fn row(&self) -> Payload;
}

/// Keeps those that are meant, and whose metadata has what is wanted.
///
/// # Errors
///
/// Fails if that takes more work than one request may ask for.
pub(super) async fn matching<T: Listed>(
    mut all: Vec<T>,
    metadata: Keys,
    is_meant: impl Fn(&T) -> bool + Send + 'static,
) -> Result<Vec<T>, Refusal> {
    let bytes: usize = metadata.values().map(Payload::len).sum();
    let bytes = bytes + all.iter().map(Listed::bytes).sum::<usize>();
    let (found, work) = offload_if_large(bytes, async move {
        let (mut work, metadata) = (Work::default(), Wanted::of(&metadata));
        all.retain(|it| {
            is_meant(it) && (metadata.is_empty() || work.has(&it.metadata(), &metadata))
        });
        (all, work)
    })
    .await?;
    work.check()?;
    Ok(found)
}

/// Answers with the part of a list that is asked for.
///
/// # Errors
///
/// Fails if there is no room for it.
pub(super) async fn part_of<T: Listed>(
    view: &View,
    listing: Listing,
    found: Vec<T>,
) -> Result<Response, Refusal> {
    let (page, total) = listing.part(found, |it| it.place(listing.by));
    let next = listing.offset.saturating_add(page.len());
    let weight = page.iter().map(Listed::bytes).sum();
    let rows = move || -> Vec<_> { page.iter().map(|it| listing.selected(it.row())).collect() };
    let mut response = rendered(view, weight, rows).await?;
    set_page(&mut response, next, total);
    Ok(response)
}
