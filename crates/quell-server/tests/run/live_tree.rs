//! The tree that `quell run` redraws in place, as a terminal of 80 columns shows it.

use std::io::{self, Write as _};

use crate::support::{Running, Scratch, wait_until};

const PLAN: &str = "\
name: ship
steps:
- { name: build, run: [sh, -c, 'while ! [ -e go ]; do sleep 0.01; done; echo box'] }
- { name: ok, wait: { ask: 'ship it?', approve: true } }
- { name: send, run: [sh, -c, 'while ! [ -e gone ]; do sleep 0.01; done; echo sent'] }
";

const QUESTION: &str = "quell: ok: ship it? [yes/no]";

/// What is on a terminal that has lines enough, and where its cursor is.
#[derive(Default)]
pub(crate) struct Screen {
    lines: Vec<Vec<char>>,
    line: usize,
    column: usize,
}

impl Screen {
    const COLUMNS: usize = 80;

    pub(crate) fn of(text: &str) -> Self {
        let mut screen = Self::default();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            match char {
                '\r' => screen.column = 0,
                '\n' => screen.line += 1,
                '\u{1b}' => {
                    let sequence = chars.as_str().trim_start_matches('[');
                    let end = sequence.find(char::is_alphabetic).unwrap_or(0);
                    let count = sequence[..end].parse().unwrap_or(1);
                    chars = sequence[end..].chars();
                    screen.steer(chars.next(), count);
                }
                char => screen.put(char),
            }
        }
        screen
    }

    fn steer(&mut self, what: Option<char>, count: usize) {
        match what {
            Some('A') => self.line -= count,
            Some('B') => self.line += count,
            Some('K') => self.lines.get_mut(self.line).into_iter().for_each(Vec::clear),
            _ => {}
        }
    }

    fn put(&mut self, char: char) {
        if self.column == Self::COLUMNS {
            (self.line, self.column) = (self.line + 1, 0);
        }
        self.lines.resize_with(self.lines.len().max(self.line + 1), Vec::new);
        let line = &mut self.lines[self.line];
        line.resize(line.len().max(self.column + 1), ' ');
        line[self.column] = char;
        self.column += 1;
    }

    /// Yields the lines from the one of a text on.
    pub(crate) fn from(&self, text: &str) -> Vec<String> {
        let lines = self.lines.iter().map(|line| line.iter().collect::<String>());
        let lines = lines.map(|line| line.trim_end().to_owned());
        lines.skip_while(|line| !line.contains(text)).collect()
    }
}

#[test]
fn nothing_stale_is_shown_while_a_question_is_open_and_after_its_answer() {
    let scratch = Scratch::new();
    scratch.write("plan.yaml", PLAN);
    let line = format!("{} run plan.yaml", env!("CARGO_BIN_EXE_quell"));
    let (reader, mut keys) = io::pipe().expect("a pipe can be made");
    let mut command = scratch.program("script");
    command.args(["-qefc", &line, "typescript"]).env("TERM", "xterm").stdin(reader);
    let running = Running::start(command);
    let screen = || Screen::of(&String::from_utf8_lossy(&scratch.read("typescript")));
    let shows = |what: &str| !screen().from(what).is_empty();
    wait_until("the first step is drawn", || shows("▶ build"));
    scratch.write("go", "");
    wait_until("the question", || shows(QUESTION));
    let asking = screen();
    let lines = asking.from("");
    assert!(!lines.iter().any(|line| line.contains('▶')), "{lines:#?}");
    let below = lines.iter().position(|line| line == QUESTION).map(|at| at + 1);
    assert!(lines.iter().skip(below.unwrap_or(0)).all(String::is_empty), "{lines:#?}");
    assert_eq!((Some(asking.line), asking.column), (below, 0), "the answer is typed below it");

    keys.write_all(b"yes\n").expect("the pipe has room");
    wait_until("the last step is drawn", || shows("▶ send"));
    let drawn = screen().from(QUESTION);
    assert_eq!(drawn[1], "yes", "{drawn:#?}");
    assert_eq!(drawn.iter().filter(|line| line.contains("ship ")).count(), 2, "{drawn:#?}");
    scratch.write("gone", "");
    assert_eq!(running.ended().code, Some(0));
    let report = screen().from(QUESTION);
    assert_eq!(report[1], "yes");
    assert!(report[2].starts_with("ship ") && report[2].contains("completed"), "{report:#?}");
    assert!(!shows("▶"), "{report:#?}");
}
