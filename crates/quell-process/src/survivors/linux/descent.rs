//! [`Descent`]: whose the processes are that a look met, but could not read.

use rustix::process::Pid;

use super::entry::{Entry, Unknown};
use super::processes::Processes;
use super::programs::is_given;
use crate::survivors::found::{Extent, Sought};

/// Whether a process descends from the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Descent {
    Own,
    Foreign,
    /// It began after the program, its environment must not be read, and its parents have ended:
    /// it was adopted by a process that adopts descendants of the program as well. Or it is the
    /// program's, and has become another user's.
    Unknown,
}

impl Processes {
    /// Tells how much the look met of what is alive of a program.
    pub(super) fn extent(&self, sought: Sought<'_>) -> Extent {
        // A process that cannot be read may carry the mark, unless it is a stranger's.
        let may_be_own = |it: &Entry| {
            it.unknown == Unknown::Elusive
                && (sought.since.is_none() || self.descent(it, sought) != Descent::Foreign)
        };
        if !self.is_listed {
            Extent::Unknown
        } else if self.is_all && !self.alive.iter().any(may_be_own) {
            Extent::All
        } else {
            Extent::Listed
        }
    }

    /// Tells by its ancestors whether a process descends from a program. Its own environment must
    /// not be read, and it has not the number of the program.
    pub(super) fn descent(&self, process: &Entry, sought: Sought<'_>) -> Descent {
        // It is of another program.
        if process.number.is_some_and(is_given) {
            return Descent::Foreign;
        }
        let group = sought.group.map(Pid::as_raw_pid);
        let is_older = sought.since.is_none_or(|since| process.began < since);
        let mut otherwise = if is_older { Descent::Foreign } else { Descent::Unknown };
        let (mut parent, mut child_began) = (process.parent, process.began);
        // More of them are a circle: parents were read one after the other.
        for _ in 0..self.alive.len() {
            let found = self.get(parent);
            // One that is younger than its child has the number of a parent that has ended.
            let found = found.filter(|it| it.began <= child_began);
            child_began = found.map_or(child_began, |it| it.began);
            match found {
                Some(it) if Some(it.group) == group || it.has(sought.mark) => return Descent::Own,
                Some(it) if self.adopters.contains(&it.id) => return otherwise,
                // Nothing that is older descends from the program.
                Some(it) if sought.since.is_some_and(|since| it.began < since) => {
                    return Descent::Foreign;
                }
                // It may carry the mark. If it ends, its children are adopted.
                Some(it)
                    if matches!(it.unknown, Unknown::Over | Unknown::Bare | Unknown::Elusive) =>
                {
                    return otherwise;
                }
                Some(it) if it.unknown == Unknown::Hidden => parent = it.parent,
                Some(it) if it.unknown == Unknown::Foreign => {
                    // A login, for example: no descendant of the program unless the mark is above.
                    otherwise = Descent::Foreign;
                    parent = it.parent;
                }
                Some(_) => return Descent::Foreign,
                // The parent is outside of this namespace.
                None if parent == 0 => return Descent::Foreign,
                // The parent has ended since.
                None => return otherwise,
            }
        }
        otherwise
    }
}

#[cfg(test)]
mod tests {
    use super::super::processes::INIT;
    use super::*;

    #[test]
    fn a_stranger_that_cannot_be_read_withholds_nothing() {
        let process = |id, parent| Entry { id, parent, began: 50, ..Entry::default() };
        let elusive = |id, parent| Entry { unknown: Unknown::Elusive, ..process(id, parent) };
        let extent = |alive: [Entry; 3], since, is_all| {
            let mut processes = Processes::of(alive, vec![INIT]);
            (processes.is_listed, processes.is_all) = (true, is_all);
            processes.extent(Sought { group: Pid::from_raw(20), since, mark: "mark" })
        };
        let orphan = || [process(1, 0), process(2, 1), elusive(3, 1)];
        let stranger = || [process(1, 0), process(2, 1), elusive(3, 2)];
        let own = || [process(1, 0), Entry { group: 20, ..process(2, 1) }, elusive(3, 2)];
        assert_eq!(extent(orphan(), Some(50), true), Extent::Listed);
        assert_eq!(extent(own(), Some(50), true), Extent::Listed);
        assert_eq!(extent(stranger(), Some(50), true), Extent::All);
        assert_eq!(extent(stranger(), Some(50), false), Extent::Listed);
        // What is older than the program is not of it; one of unknown age may be.
        assert_eq!(extent(orphan(), Some(51), true), Extent::All);
        assert_eq!(extent(stranger(), None, true), Extent::Listed);
    }

    #[test]
    fn a_process_that_hides_is_known_by_its_ancestors() {
        let process = |id, parent| Entry { id, parent, began: 50, ..Entry::default() };
        let hidden = |id, parent| Entry { unknown: Unknown::Hidden, ..process(id, parent) };
        let other = |id, parent| Entry { unknown: Unknown::Foreign, ..process(id, parent) };
        let marked = |id, parent| Entry { marks: Some("mark".into()), ..process(id, parent) };
        let member = |id, parent| Entry { group: 20, ..process(id, parent) };
        #[rustfmt::skip]
        let alive = [
            process(1, 0), process(2, 1),
            marked(10, 2), hidden(11, 10), hidden(12, 11), other(13, 10), hidden(14, 13),
            member(20, 2), hidden(21, 20),
            process(30, 1), hidden(31, 30), other(32, 1), hidden(33, 32), hidden(34, 0),
            hidden(40, 1), hidden(41, 40), hidden(42, 2), hidden(43, 99),
            Entry { unknown: Unknown::Over, ..process(50, 1) }, hidden(51, 50),
            Entry { began: 40, ..hidden(60, 1) }, hidden(61, 60),
        ];
        let adopters = vec![INIT, 2];
        let processes = Processes::of(alive, adopters);
        let descent = |id, since| {
            let sought = Sought { group: Pid::from_raw(20), since, mark: "mark" };
            processes.descent(processes.get(id).unwrap(), sought)
        };
        for id in [11, 12, 14, 21] {
            assert_eq!(descent(id, Some(50)), Descent::Own, "{id}");
        }
        for id in [31, 33, 34, 61] {
            assert_eq!(descent(id, Some(50)), Descent::Foreign, "{id}");
        }
        for id in [40, 41, 42, 43, 51] {
            assert_eq!(descent(id, Some(50)), Descent::Unknown, "{id}");
            // What is older than the program does not descend from it, nor is anything known to
            // be younger than a program of unknown age.
            assert_eq!(descent(id, Some(51)), Descent::Foreign, "{id}");
            assert_eq!(descent(id, None), Descent::Foreign, "{id}");
        }
    }
}
