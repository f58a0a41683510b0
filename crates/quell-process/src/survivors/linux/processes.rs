//! [`Processes`]: what was alive, as `/proc` told it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::child_subreaper;

use super::adopted::Adopter;
use super::entry::{Entry, Unknown};
use super::programs::now;
use super::stat::is_shortage;

/// What was alive, threads among it.
pub(super) struct Processes {
    pub(super) alive: Vec<Entry>,
    /// Where each is in `alive`, by number. One that was given twice means the later process.
    places: HashMap<i32, usize>,
    /// When the look began, in ticks.
    begun_at: u64,
    /// Whether the look came to its end.
    pub(super) is_listed: bool,
    /// Whether nothing else was alive at the end of the look.
    pub(super) is_all: bool,
    /// The processes that may adopt a descendant of a program: the first process of the system, and
    /// every ancestor of the embedder (`PR_SET_CHILD_SUBREAPER` of another cannot be asked).
    pub(super) adopters: Vec<i32>,
    /// This process, if it is one of those.
    pub(super) adopter: Option<Adopter>,
    /// The numbers of those that were dead, or gone.
    pub(super) dead: Vec<i32>,
}

impl Processes {
    /// Reads what is alive; none if `/proc` is not what it should be.
    ///
    /// A process that ends before it is read may have started another behind the listing. So what
    /// was born since is read as well, until nothing was: numbers are given in order, and whoever
    /// is about to start something is alive and was read.
    pub(super) fn read(before: Option<&Self>) -> Option<Self> {
        let mut this = Self::of([], vec![INIT]);
        match this.read_listed_and_born(before) {
            Err(error) if is_shortage(&error) => return Some(this),
            read => read.ok()?,
        }
        this.is_listed = true;
        this.recall(before);
        let own = this.get(own()?)?;
        let mut adopters = Vec::new();
        let adopter = Adopter { id: own.id, session: own.session };
        if is_subreaper() {
            adopters.push(own.id);
        }
        let mut ancestor = own.parent;
        while let Some(it) = this.get(ancestor)
            && !adopters.contains(&it.id)
        {
            adopters.push(it.id);
            ancestor = it.parent;
        }
        this.adopter = (is_subreaper() || adopter.id == INIT).then_some(adopter);
        this.adopters.extend(adopters);
        Some(this)
    }

    /// Begins with these processes.
    pub(super) fn of(alive: impl IntoIterator<Item = Entry>, adopters: Vec<i32>) -> Self {
        let mut this = Self {
            alive: Vec::new(),
            places: HashMap::new(),
            begun_at: now(),
            is_listed: false,
            is_all: false,
            adopters,
            adopter: None,
            dead: Vec::new(),
        };
        alive.into_iter().for_each(|process| this.add(process));
        this
    }

    fn add(&mut self, process: Entry) {
        self.places.insert(process.id, self.alive.len());
        self.alive.push(process);
    }

    pub(super) fn get(&self, id: i32) -> Option<&Entry> {
        self.alive.get(*self.places.get(&id)?)
    }

    fn read_listed_and_born(&mut self, before: Option<&Self>) -> io::Result<()> {
        let mut last = newest()?;
        for entry in fs::read_dir("/proc")? {
            if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                self.meet(id, before)?;
            }
        }
        let mut give_up_at = Instant::now() + CHASE_WAIT;
        let mut looks = 0;
        while Instant::now() < give_up_at {
            let newest = newest()?;
            // After the highest number come low ones again, perhaps behind the listing. Then this
            // is not all: by such a look nothing counts as ended (`Survivors::is_empty`), and the
            // next one lists them. To come round to `last` unseen, all numbers there are would
            // have to be given between two reads.
            if !(last..=last.saturating_add(BORN_MAX)).contains(&newest) {
                return Ok(());
            }
            for id in last + 1..=newest {
                self.meet(id, before)?;
            }
            if newest == last {
                if looks == LOOKS_MAX || !self.has_doubtful() {
                    self.is_all = true;
                    return Ok(());
                }
                looks += 1;
                // A stranger may cost this time, on a busy machine much of it: it is no time in
                // which the chase made no headway.
                let paused_at = Instant::now();
                thread::sleep(LOOK_PAUSE);
                self.look_again()?;
                give_up_at += paused_at.elapsed();
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

    fn meet(&mut self, id: i32, before: Option<&Self>) -> io::Result<()> {
        let Some(mut process) = Entry::read(id)? else {
            self.dead.push(id);
            return Ok(());
        };
        if self.get(id).is_none_or(|it| it.began != process.began) {
            let was = before.and_then(|before| before.get(id));
            let is_new = before.is_none_or(|it| it.begun_at < process.began + NEW_TICKS);
            process.read_number(was, is_new)?;
            process.freeze_if_condemned();
            process.count(was);
            self.add(process);
        }
        Ok(())
    }

    /// Yields what had no environment (a process that is being replaced by another program, `exec`,
    /// has none for a moment), and what has no thread for long enough. What never had an
    /// environment, though it was read often enough, is left out.
    fn doubtful(&mut self) -> impl Iterator<Item = &mut Entry> {
        let is_doubtful = |it: &Entry| match it.unknown {
            Unknown::Bare => it.bare_reads <= LOOKS_MAX,
            unknown => unknown == Unknown::Elusive,
        };
        self.alive.iter_mut().filter(move |it| is_doubtful(it))
    }

    fn has_doubtful(&mut self) -> bool {
        self.doubtful().next().is_some()
    }

    /// Reads again what is doubtful.
    fn look_again(&mut self) -> io::Result<()> {
        for process in self.doubtful() {
            match Entry::read(process.id)? {
                Some(mut again) if again.began == process.began => {
                    again.read_number(None, true)?;
                    again.freeze_if_condemned();
                    again.count(Some(process));
                    *process = again;
                }
                _ => process.unknown = Unknown::No,
            }
        }
        Ok(())
    }
}

/// Yields the number of this process, if `/proc` has it: that of another namespace has others.
pub(super) fn own() -> Option<i32> {
    let own = process::id().try_into().ok()?;
    (fs::read_link("/proc/self").ok()?.to_str()?.parse() == Ok(own)).then_some(own)
}

pub(super) fn is_subreaper() -> bool {
    matches!(child_subreaper(), Ok(Some(_)))
}

/// Yields the number that was given last, to a process or to a thread.
pub(super) fn newest() -> io::Result<i32> {
    // Some containers have a load average of their own (lxcfs), with a number of another namespace.
    let own = match fs::read_to_string("/proc/sys/kernel/ns_last_pid") {
        Err(error) if is_shortage(&error) => return Err(error),
        read => read.ok(),
    };
    let text = own.map_or_else(|| fs::read_to_string("/proc/loadavg"), Ok)?;
    let newest = text.split_ascii_whitespace().next_back().and_then(|last| last.parse().ok());
    newest.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// How long to run after what is being born, and how many may be born between two looks.
const CHASE_WAIT: Duration = Duration::from_millis(100);
const BORN_MAX: i32 = 4_096;

/// For how many ticks a process may yet be given a number.
const NEW_TICKS: u64 = 100;

/// How often to look again at a process without environment, and the pause before.
const LOOKS_MAX: u32 = 10;
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// The first process, which adopts what has no parent any more.
pub(super) const INIT: i32 = 1;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::{Pid, Resource, getrlimit, prlimit};

    use super::super::programs::{lead, new_mark};
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
    fn what_gives_up_its_number_after_a_look_is_known_by_it() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let (id, mark) = (Pid::from_child(&child), new_mark());
        let led = lead(id, &mark);
        let has_number = |it: &Processes| it.get(id.as_raw_pid()).unwrap().has(&mark);
        let before = Processes::read(None).unwrap();
        prlimit(Some(id), Resource::Locks, getrlimit(Resource::Locks)).unwrap();
        let (known, afresh) = (Processes::read(Some(&before)), Processes::read(None));
        drop(led);
        child.kill().unwrap();
        child.wait().unwrap();
        let has = [&before, &known.unwrap(), &afresh.unwrap()].map(has_number);
        assert_eq!(has, [true, true, false]);
    }

    #[test]
    fn the_number_of_a_process_that_is_not_new_is_read_once() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let (id, mark) = (Pid::from_child(&child), new_mark());
        let led = lead(id, &mark);
        let entry = || Entry::read(id.as_raw_pid()).unwrap().unwrap();
        let reads = |before: Entry, is_new| {
            let mut now = entry();
            now.read_number(Some(&before), is_new).unwrap();
            now.has(&mark)
        };
        let of_another = Entry { began: 1, ..entry() };
        let was_foreign = Entry { unknown: Unknown::Foreign, ..entry() };
        let reads = [
            reads(entry(), false),
            reads(entry(), true),
            reads(of_another, false),
            reads(was_foreign, false),
        ];
        let mut foreign = Entry { unknown: Unknown::Foreign, ..entry() };
        foreign.read_number(None, true).unwrap();
        drop(led);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(reads, [false, true, true, true]);
        assert!(!foreign.has(&mark));
    }

    /// Has no environment, and no first thread that could tell.
    const BARE: &str = r"
#include <pthread.h>
#include <unistd.h>

extern char **environ;

static void *rest(void *unused) { for (;;) pause(); }

int main(int count, char **words) {
    char *none[] = {0};
    pthread_t other;
    if (*environ) execve(words[0], words, none);
    pthread_create(&other, NULL, rest, NULL);
    pthread_exit(NULL);
}
";

    #[test]
    fn a_process_that_never_has_an_environment_is_read_again_in_one_look_only() {
        let folder = std::env::temp_dir().join(format!("quell-bare-{}", process::id()));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("bare.c"), BARE).unwrap();
        let mut cc = Command::new("cc");
        let cc = cc.args(["-pthread", "-o", "bare", "bare.c"]).current_dir(&folder).status();
        assert!(cc.unwrap().success());
        let mut bare = Command::new(folder.join("bare")).spawn().unwrap();
        let id = bare.id().try_into().unwrap();
        let is_bare = || Entry::read(id).unwrap().unwrap().unknown == Unknown::Bare;
        while !is_bare() {
            thread::yield_now();
        }
        let reads = |it: &Processes| it.get(id).unwrap().bare_reads;
        let first = Processes::read(None).unwrap();
        // Others come and go: more than one look may be needed.
        let mut settled = first;
        while reads(&settled) <= LOOKS_MAX {
            settled = Processes::read(Some(&settled)).unwrap();
        }
        let next = Processes::read(Some(&settled)).unwrap();
        let (before, after) = (reads(&settled), reads(&next));
        bare.kill().unwrap();
        bare.wait().unwrap();
        fs::remove_dir_all(folder).unwrap();
        assert_eq!(after, before + 1);
    }
}
