//! [`RunContext::annotate`]: a body adds annotations to its run.

use std::sync::Arc;

use quell_core::Annotations;

use crate::annotate_error::AnnotateError;
use crate::body::context::RunContext;
use crate::journal::Entry;
use crate::metadata::{bytes_of, check_annotations};
use crate::node::{Node, UNSTORED_MAX};
use crate::sync::Ordering;

impl RunContext {
    /// Adds annotations to the run, beside those of its spec: for what only the body learns, and
    /// whoever finds the run is to know. They are shown at once, and stored before everything that
    /// the run says or does after this call; [`RunRef::stored`](crate::RunRef::stored) waits for
    /// that. A later attempt in another process has them too.
    ///
    /// What the run has stays as it is, in later attempts as well: a body that may have added one
    /// looks with [`RunRef::annotation`](crate::RunRef::annotation) first. At most
    /// [`ANNOTATIONS_MAX`](crate::limits::ANNOTATIONS_MAX) of a run, keys of 256 bytes and values
    /// of 64 MiB in all, which count as bytes of live runs as those of the spec do. Each call
    /// stores all of them. It does not make the body a listener.
    ///
    /// # Errors
    ///
    /// Fails for every reason in [`AnnotateError`], and adds nothing then.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::{Annotations, Engine, RunSpec};
    ///
    /// let engine = Engine::new();
    /// let spec = RunSpec::agent("reply").annotation("front-end", "web".into());
    /// let run = engine.submit(spec, async |ctx| {
    ///     ctx.annotate(&Annotations::from([("model".into(), "small".into())]))?;
    ///     Ok(())
    /// });
    /// let run = run.unwrap().into_ref();
    /// run.ended().await;
    /// assert_eq!(run.annotation("model"), Some(&"small".into()));
    /// assert_eq!(run.annotations().unwrap().len(), 2);
    /// # });
    /// ```
    pub fn annotate(&self, added: &Annotations) -> Result<(), AnnotateError> {
        let node = self.node();
        loop {
            // Before any lock: texts may be written only now, by code of the caller.
            let mut all = self.run().annotations().cloned().unwrap_or_default();
            if let Some(taken) = added.keys().find(|key| all.contains_key(key)) {
                return Err(AnnotateError::Taken(taken.to_owned()));
            }
            let before = all.len();
            all.extend(added.clone());
            check_annotations(&all).map_err(AnnotateError::Bound)?;
            let refusal = node.shared.journal.as_ref().and_then(|it| it.refusal(bytes_of(&all)));
            refusal.map_or(Ok(()), |error| Err(AnnotateError::Store(error)))?;
            if node.add_annotations(before, all, bytes_of(added))? {
                return Ok(());
            }
        }
    }
}

impl Node {
    /// Has the run have these annotations, which are so many bytes more than it had; tells whether
    /// it had so many before: another part of its body may have added some since.
    fn add_annotations(
        self: &Arc<Self>,
        before: usize,
        all: Annotations,
        more: usize,
    ) -> Result<bool, AnnotateError> {
        let state = self.lock();
        if state.times.ended.is_some() || state.life.is_paused() {
            return Err(AnnotateError::Ended);
        }
        let about = self.about_or_new();
        if about.annotations().len() != before {
            return Ok(false);
        }
        if all.len() == before {
            return Ok(true);
        }
        if self.unstored.load(Ordering::Relaxed) >= UNSTORED_MAX {
            return Err(AnnotateError::TooMany { max: UNSTORED_MAX });
        }
        self.charge_more(&state, more).map_err(AnnotateError::Bound)?;
        self.journal(|run| Entry::Annotated(run, Box::new(all.clone())));
        about.annotated.push(all);
        Ok(true)
    }
}
