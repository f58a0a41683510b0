//! [`Catalog::why_not_resumed`]: why a paused run of an earlier process has no next body.

use quell::{Annotations, Labels, RunKind};

use super::kind::ComponentKind;
use super::registry::Catalog;
use super::start::COMPONENT;
use crate::excerpt::excerpt;

impl Catalog {
    /// Says why [`recovery`](Self::recovery) does not go on with a paused root of an earlier
    /// process, and what to do about it, in words for whoever starts the process. None if that is
    /// not known: the catalog would go on with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell::{Labels, RunKind};
    /// use quell_flow::{COMPONENT, Catalog};
    ///
    /// let labels = Labels::from([(COMPONENT.to_owned(), "ship".to_owned())]);
    /// let why = Catalog::new().why_not_resumed(RunKind::Workflow, Some(&labels), None).unwrap();
    /// assert!(why.starts_with("`workflow/ship` is no longer in the configuration: "), "{why}");
    /// ```
    pub fn why_not_resumed(
        &self,
        kind: RunKind,
        labels: Option<&Labels>,
        annotations: Option<&Annotations>,
    ) -> Option<String> {
        let Some(id) = labels.and_then(|labels| labels.get(COMPONENT)) else {
            return Some(NO_COMPONENT.to_owned());
        };
        let kind = ComponentKind::of_run(kind);
        let name = excerpt(&format!("{kind}/{id}"));
        let Some(component) = self.get(kind, id) else {
            return Some(format!("`{name}` is no longer in the configuration: {BACK}"));
        };
        if !component.is_resumable() {
            return Some(format!("`{name}` no longer lets its runs be paused: {BACK}"));
        }
        component
            .is_of_other_plan(annotations)
            .then(|| format!("the plan of `{name}` has changed since the run was paused: {BACK}"))
    }
}

const BACK: &str = "put it back and restart, or cancel the run";

const NO_COMPONENT: &str = "it is of no component, and only runs of components go on here: cancel \
                            it, or go on with it where it was started";

#[cfg(test)]
mod tests {
    use quell::{Engine, Payload, RunSpec};

    use super::*;
    use crate::Component;
    use crate::catalog::Lasting;

    #[tokio::test]
    async fn what_has_changed_since_a_run_was_paused_is_named() {
        let lasting = |mark: &str| {
            let waits = vec!["ok".to_owned()];
            Lasting::new(("plan.hash", mark.into()), waits, |_| Box::new(|_| unreachable!()))
        };
        let body = || Component::workflow("ship", async |_ctx, input: Payload| Ok(input));
        let labels = Labels::from([(COMPONENT.to_owned(), "ship".to_owned())]);
        let spec = lasting("old").marked(RunSpec::workflow("ship"));
        let run = Engine::new().submit(spec, async |_| Ok(())).unwrap().into_ref();
        let why = |catalog: &Catalog, labels| {
            catalog.why_not_resumed(RunKind::Workflow, labels, run.annotations())
        };
        let same = Catalog::new().with(body().lasting(lasting("old")));
        assert_eq!(why(&same, Some(&labels)), None);
        assert_eq!(why(&same, None).as_deref(), Some(NO_COMPONENT));
        for (catalog, says) in [
            (
                Catalog::new().with(body().lasting(lasting("new"))),
                "the plan of `workflow/ship` has",
            ),
            (Catalog::new().with(body()), "`workflow/ship` no longer lets its runs be paused"),
            (Catalog::new(), "`workflow/ship` is no longer in the configuration"),
        ] {
            let words = why(&catalog, Some(&labels)).unwrap();
            assert!(words.starts_with(says) && words.ends_with(BACK), "{words}");
        }
    }
}
