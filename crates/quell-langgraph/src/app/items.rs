//! [`App::item`]: the key-value store of a caller (contract, section 4).

use std::time::SystemTime;

use quell_http::View;

use crate::app::App;
use crate::app::assistants::in_use;
use crate::app::kept::{Kept, Kind, TRIES};
use crate::wire::exact::written;
use crate::wire::item::{KeyedValue, Place, Put};
use crate::wire::refusal::Refusal;

impl App {
    /// Puts an item into its place.
    ///
    /// # Errors
    ///
    /// Fails if there is no room, if its owner has as many as there may be, and if the store cannot
    /// be read or does not take it.
    pub(crate) async fn put_item(&self, view: &View, put: &Put) -> Result<(), Refusal> {
        let id = put.place.id(view.principal().subject());
        for _ in 0..TRIES {
            let (before, now) = (self.kept(Kind::Item, id).await?, SystemTime::now());
            let known = before.as_ref().and_then(|before| KeyedValue::of(&before.body));
            let item = put.item(known.as_ref().filter(|known| !known.is_over(now)), now);
            let kept = match &before {
                Some(before) => before.changed(written(&item)),
                None => Kept::new(Kind::Item, id, view, written(&item)),
            };
            if self.keep_item(&kept, before.as_ref().map(|before| &before.body)).await? {
                return Ok(());
            }
        }
        Err(in_use("The item"))
    }

    /// Finds the item in a place, and has its time begin anew if it is to be.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(crate) async fn item(
        &self,
        view: &View,
        place: &Place,
        refreshes: bool,
    ) -> Result<Option<KeyedValue>, Refusal> {
        let id = place.id(view.principal().subject());
        let Some(kept) = self.kept(Kind::Item, id).await? else { return Ok(None) };
        Ok(self.looked_at(view, vec![kept], refreshes).await.pop())
    }

    /// Deletes the item in a place, if there is one.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read or does not take it.
    pub(crate) async fn delete_item(&self, view: &View, place: &Place) -> Result<(), Refusal> {
        let id = place.id(view.principal().subject());
        for _ in 0..TRIES {
            let Some(kept) = self.kept(Kind::Item, id).await? else { return Ok(()) };
            if self.keep_item_no_more(&kept).await? {
                return Ok(());
            }
        }
        Err(in_use("The item"))
    }

    /// Lists the caller's items, the first one first.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read.
    pub(crate) async fn items(&self, view: &View) -> Result<Vec<KeyedValue>, Refusal> {
        let kept = self.own_kept(view, Kind::Item).await?;
        let mut items = self.looked_at(view, kept, false).await;
        items.sort_by(|one, other| {
            let place = |it: &KeyedValue| (it.created_us, it.namespace.clone(), it.key.clone());
            place(one).cmp(&place(other))
        });
        Ok(items)
    }

    /// Keeps the items whose time is not over; the others are deleted.
    async fn looked_at(&self, view: &View, kept: Vec<Kept>, refreshes: bool) -> Vec<KeyedValue> {
        let (mut items, mut over, now) = (Vec::new(), Vec::new(), SystemTime::now());
        for kept in kept {
            let Some(item) = KeyedValue::of(&kept.body) else { continue };
            if item.is_over(now) {
                over.push(kept);
                continue;
            }
            if refreshes
                && !view.principal().is_read_only()
                && let Some(later) = item.refreshed(now)
            {
                // Whoever was faster has written it anew, or read it.
                let _ = self.keep(&kept.changed(written(&later))).await;
            }
            items.push(item);
        }
        if !over.is_empty() {
            let app = self.clone();
            drop(tokio::spawn(async move {
                for kept in over {
                    // Who puts another one there takes its place.
                    let _ = app.keep_item_no_more(&kept).await;
                }
            }));
        }
        items
    }
}
