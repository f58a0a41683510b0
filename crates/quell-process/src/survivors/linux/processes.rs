//! [`Processes`]: what was alive, as `/proc` told it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, child_subreaper};

use super::entry::{Entry, Unknown, is_shortage};
use crate::survivors::Sought;

/// What was alive, threads among it.
pub(super) struct Processes {
    pub(super) alive: Vec<Entry>,
    /// Where each is in `alive`, by number. One that was given twice means the later process.
    places: HashMap<i32, usize>,
    /// Whether the look came to its end.
    pub(super) is_listed: bool,
    /// Whether nothing else was alive at the end of the look.
    pub(super) is_all: bool,
    /// The processes that may adopt a descendant of a program: the first process of the system, and
    /// every ancestor of the embedder (`PR_SET_CHILD_SUBREAPER` of another cannot be asked).
    adopters: Vec<i32>,
}

impl Processes {
    /// Reads what is alive; none if `/proc` is not what it should be.
    ///
    /// A process that ends before it is read may have started another behind the listing. So what
    /// was born since is read as well, until nothing was: numbers are given in order, and whoever
    /// is about to start something is alive and was read.
    pub(super) fn read(before: Option<&Self>) -> Option<Self> {
        let mut this = Self::of([], vec![INIT]);
        match this.read_listed_and_born() {
            Err(error) if is_shortage(&error) => return Some(this),
            read => read.ok()?,
        }
        this.is_listed = true;
        this.recall(before);
        // The `/proc` of another namespace has other numbers.
        let own = process::id().try_into().ok()?;
        if fs::read_link("/proc/self").ok()?.to_str()?.parse() != Ok(own) {
            return None;
        }
        let own = this.get(own)?;
        let mut adopters = Vec::new();
        if matches!(child_subreaper(), Ok(Some(_))) {
            adopters.push(own.id);
        }
        let mut ancestor = own.parent;
        while let Some(it) = this.get(ancestor)
            && !adopters.contains(&it.id)
        {
            adopters.push(it.id);
            ancestor = it.parent;
        }
        this.adopters.extend(adopters);
        Some(this)
    }

    /// Begins with these processes.
    fn of(alive: impl IntoIterator<Item = Entry>, adopters: Vec<i32>) -> Self {
        let places = HashMap::new();
        let mut this =
            Self { alive: Vec::new(), places, is_listed: false, is_all: false, adopters };
        alive.into_iter().for_each(|process| this.add(process));
        this
    }

    fn add(&mut self, process: Entry) {
        self.places.insert(process.id, self.alive.len());
        self.alive.push(process);
    }

    fn get(&self, id: i32) -> Option<&Entry> {
        self.alive.get(*self.places.get(&id)?)
    }

    /// Tells by its ancestors whether a process descends from a program. Its own environment must
    /// not be read.
    pub(super) fn descent(&self, process: &Entry, sought: Sought<'_>) -> Descent {
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

    fn read_listed_and_born(&mut self) -> io::Result<()> {
        let mut last = newest()?;
        for entry in fs::read_dir("/proc")? {
            if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                self.meet(id)?;
            }
        }
        let give_up_at = Instant::now() + CHASE_WAIT;
        let mut looks = 0;
        while Instant::now() < give_up_at {
            let newest = newest()?;
            // After the highest number come low ones again: the next look finds them.
            if !(last..=last.saturating_add(BORN_MAX)).contains(&newest) {
                return Ok(());
            }
            for id in last + 1..=newest {
                self.meet(id)?;
            }
            if newest == last {
                if looks == LOOKS_MAX || !self.has_doubtful() {
                    self.is_all = !self.alive.iter().any(|it| it.unknown == Unknown::Elusive);
                    return Ok(());
                }
                looks += 1;
                thread::sleep(LOOK_PAUSE);
                self.look_again()?;
            }
            last = newest;
        }
        Ok(())
    }

    /// Gives the marks that they had to those that cannot be read any more, while they end for
    /// example.
    fn recall(&mut self, before: Option<&Self>) {
        let unknown =
            self.alive.iter_mut().filter(|it| it.unknown != Unknown::No && it.marks.is_none());
        for process in unknown {
            let known = before.and_then(|before| before.get(process.id));
            let known = known.filter(|it| it.began == process.began);
            process.marks = known.and_then(|it| it.marks.clone());
        }
    }

    fn meet(&mut self, id: i32) -> io::Result<()> {
        if let Some(process) = Entry::read(id)?
            && self.get(id).is_none_or(|it| it.began != process.began)
        {
            process.freeze_if_condemned();
            self.add(process);
        }
        Ok(())
    }

    /// Yields what had no environment (a process that is being replaced by another program, `exec`,
    /// has none for a moment), and what has no thread for long enough.
    fn doubtful(&mut self) -> impl Iterator<Item = &mut Entry> {
        let is_doubtful = |it: &Entry| matches!(it.unknown, Unknown::Bare | Unknown::Elusive);
        self.alive.iter_mut().filter(move |it| is_doubtful(it))
    }

    fn has_doubtful(&mut self) -> bool {
        self.doubtful().next().is_some()
    }

    /// Reads again what is doubtful.
    fn look_again(&mut self) -> io::Result<()> {
        for process in self.doubtful() {
            match Entry::read(process.id)? {
                Some(again) if again.began == process.began => {
                    again.freeze_if_condemned();
                    *process = again;
                }
                _ => process.unknown = Unknown::No,
            }
        }
        Ok(())
    }
}

/// Yields the number that was given last, to a process or to a thread.
fn newest() -> io::Result<i32> {
    // Some containers have a load average of their own (lxcfs), with a number of another namespace.
    let own = match fs::read_to_string("/proc/sys/kernel/ns_last_pid") {
        Err(error) if is_shortage(&error) => return Err(error),
        read => read.ok(),
    };
    let text = own.map_or_else(|| fs::read_to_string("/proc/loadavg"), Ok)?;
    let newest = text.split_ascii_whitespace().next_back().and_then(|last| last.parse().ok());
    newest.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

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

/// How long to run after what is being born, and how many may be born between two looks.
const CHASE_WAIT: Duration = Duration::from_millis(100);
const BORN_MAX: i32 = 4_096;

/// How often to look again at a process without environment, and the pause before.
const LOOKS_MAX: usize = 10;
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// The first process, which adopts what has no parent any more.
const INIT: i32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedder_itself_is_found_alive() {
        let own = Entry::read(process::id().try_into().unwrap()).unwrap().unwrap();
        assert!(
            Processes::read(None).unwrap().alive.iter().any(|process| process.group == own.group)
        );
    }

    #[test]
    fn the_marks_of_a_process_are_recalled_and_not_those_of_another_of_its_number() {
        let process = |id, began, unknown| Entry { id, began, unknown, ..Entry::default() };
        let marked = |id| Entry { marks: Some("mark".into()), ..process(id, 50, Unknown::No) };
        // The number 4 was given twice during the look before.
        let mut before = Processes::of([4, 1, 2, 3].map(marked), vec![INIT]);
        before.add(process(4, 51, Unknown::No));
        let alive = [
            process(1, 50, Unknown::Over),
            process(2, 50, Unknown::No),
            process(3, 51, Unknown::Over),
            process(4, 51, Unknown::Over),
            process(5, 50, Unknown::Over),
        ];
        let mut now = Processes::of(alive, vec![INIT]);
        now.recall(None);
        assert!(!now.alive.iter().any(|it| it.has("mark")));
        now.recall(Some(&before));
        let recalled: Vec<_> =
            now.alive.iter().filter(|it| it.has("mark")).map(|it| it.id).collect();
        assert_eq!(recalled, [1]);
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
