//! [`App::search_threads`]: which threads of a caller a search means (contract, section 4).

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use futures::future::try_join_all;
use futures::{StreamExt as _, stream};
use quell_http::{View, offload_if_large};
use uuid::Uuid;

use crate::app::App;
use crate::threads::Thread;
use crate::wire::refusal::Refusal;
use crate::wire::rows::ThreadParts;
use crate::wire::search::{Meant, Search, Work};

impl App {
    /// Yields a page of the threads that a search means, in its order, and how many it means.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, if the search compares too much, and if there is no room
    /// for the page among what is under way.
    pub(crate) async fn search_threads(
        &self,
        view: &View,
        search: &Search,
    ) -> Result<(Vec<Arc<Thread>>, usize), Refusal> {
        let order = search.order();
        let mut found = self.meant(view, &search.meant, move |it| order.place(it)).await?;
        found.sort_by(|(one, _), (other, _)| order.of(one, other));
        let total = found.len();
        let (mut page, mut weight, mut room) = (Vec::new(), 0, None);
        for (_, (id, read)) in found.into_iter().skip(search.offset).take(search.limit) {
            // It was read just now, and is read again only if it has left the memory since.
            let read = read.upgrade().filter(|read| !read.has_left());
            let thread = match read {
                Some(read) => Some(read),
                None => self.thread_anywhere(view, id).await?,
            };
            let Some(thread) = thread else { continue };
            weight += thread.weight();
            page.push(thread);
            // Threads that leave the memory are held by the page: no more than may be answered.
            drop(room.replace(view.room_now(weight)?));
        }
        Ok((page, total))
    }

    /// Counts the threads that are meant.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot be read, or the count compares too much.
    pub(crate) async fn count_threads(&self, view: &View, meant: &Meant) -> Result<usize, Refusal> {
        let found = self.meant(view, meant, |_| ()).await?;
        let counted: Vec<_> = found.iter().filter_map(|((), (_, read))| read.upgrade()).collect();
        try_join_all(counted.iter().map(|thread| self.heard_of(thread))).await?;
        Ok(found.len())
    }

    /// Lists the threads that are meant, each with what is asked of it.
    async fn meant<T: Send + 'static>(
        &self,
        view: &View,
        meant: &Meant,
        ask: impl Fn(&ThreadParts<'_>) -> T + Copy + Send + 'static,
    ) -> Result<Vec<(T, Read)>, Refusal> {
        let (mut found, mut work) = (Vec::new(), Work::default());
        let ids = self.candidates(view, meant).await?;
        let threads = ids.into_iter().map(|id| self.thread_anywhere(view, id));
        let mut threads = stream::iter(threads).buffered(AT_ONCE);
        while let Some(thread) = threads.next().await {
            let Some(thread) = thread? else { continue };
            let bytes = if meant.compares() { thread.weight() + meant.bytes() } else { 0 };
            let read = (thread.id, Arc::downgrade(&thread));
            let (engine, meant) = (self.engine().clone(), meant.clone());
            let look = async move {
                let answer = thread
                    .with_parts(&engine, |parts| meant.has(parts, &mut work).then(|| ask(parts)));
                (answer, work)
            };
            let answer;
            (answer, work) = offload_if_large(bytes, look).await?;
            work.check()?;
            found.extend(answer.map(|answer| (answer, read)));
        }
        Ok(found)
    }

    /// Lists the threads that may be meant: those in memory, and of the store those that were made
    /// or changed last.
    async fn candidates(&self, view: &View, meant: &Meant) -> Result<Vec<Uuid>, Refusal> {
        if let Some(ids) = &meant.ids {
            return Ok(ids.iter().copied().collect());
        }
        let who = view.principal();
        let threads = self.threads();
        let mut ids = if who.sees_all() { threads.list() } else { threads.list_of(who.subject()) };
        let known: HashSet<_> = ids.iter().copied().collect();
        let stored = self.recorded_threads(view, meant).await?;
        ids.retain(|id| stored.get(id).copied().unwrap_or(true));
        let others = stored.into_iter().filter(|(id, may_be)| *may_be && !known.contains(id));
        ids.extend(others.map(|(id, _)| id));
        Ok(ids)
    }
}

/// A thread that was read, which may leave the memory.
type Read = (Uuid, Weak<Thread>);

/// Threads that are read at once for one search.
const AT_ONCE: usize = 8;
