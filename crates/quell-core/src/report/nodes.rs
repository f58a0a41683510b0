//! [`Abandoned::name_nodes_once`]: a node that was lost twice with a run is named once.

use std::collections::HashSet;
use std::sync::Arc;

use crate::{Abandoned, Work};

impl Abandoned {
    /// Has a list name each node once for each run, the first time: it may have been lost, have
    /// come back, and have been lost again with the same run.
    ///
    /// # Examples
    ///
    /// ```
    /// use quell_core::{Abandoned, RunId, Work};
    ///
    /// let of = |name: &str, what| Abandoned::new(RunId::from_text("order-7"), name.into(), what);
    /// let (node, program) = (of("a", Work::Node), of("make", Work::Process));
    /// let mut named = vec![node.clone(), program.clone(), node.clone(), program.clone()];
    /// Abandoned::name_nodes_once(&mut named);
    /// assert_eq!(named, [node, program.clone(), program]);
    /// ```
    pub fn name_nodes_once(named: &mut Vec<Self>) {
        let mut known = HashSet::new();
        named.retain(|work| {
            work.what != Work::Node || known.insert((work.run, Arc::clone(&work.name)))
        });
    }
}
