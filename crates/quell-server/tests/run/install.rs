//! What is installed beside the binary: completions, pages for `man`, and the files of `deploy`.

use std::fs;
use std::process::Command;

use crate::site::Site;
use crate::support::{Scratch, repository};

/// The commands that the help shows.
fn commands(scratch: &Scratch) -> Vec<String> {
    let help = scratch.run(&["--help"]).stdout;
    let (_, list) = help.split_once("Commands:\n").expect("a list of commands");
    let (list, _) = list.split_once("\n\n").expect("its end");
    let named = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let name = |line: &str| line.split_whitespace().next().map(str::to_owned);
    named.filter_map(name).filter(|name| name != "help").collect()
}

#[test]
fn bash_completes_what_the_help_shows() {
    let scratch = Scratch::new();
    let ended = scratch.run(&["completions", "bash"]);
    ended.assert_code(0);
    scratch.write("completions", &ended.stdout);
    let complete = |words: &str, at: usize| {
        let script = format!(
            ". ./completions; COMP_WORDS=({words}); COMP_CWORD={at}; \
             _quell quell \"${{COMP_WORDS[{at}]}}\" \"${{COMP_WORDS[{at}-1]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash");
        let ended =
            bash.args(["-c", &script]).current_dir(scratch.path(".")).output().expect("bash");
        assert!(ended.status.success(), "{ended:?}");
        let said = String::from_utf8(ended.stdout).expect("text");
        said.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let shown = commands(&scratch);
    assert!(shown.len() > 6, "{shown:?}");
    let known = complete("quell ''", 1);
    for name in &shown {
        assert!(known.contains(name), "`{name}` is not completed: {known:?}");
    }
    assert!(!known.contains(&"guard".to_owned()), "it is for quell itself: {known:?}");
    assert_eq!(complete("quell serve --conf", 2), ["--config"]);
    assert_eq!(complete("quell serve --demo", 2), ["--demo"]);
    assert_eq!(complete("quell plan sch", 2), ["schema"]);
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    assert_eq!(complete("quell serve --log ''", 3), levels);
}

#[test]
fn each_shell_has_a_script() {
    let scratch = Scratch::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ended = scratch.run(&["completions", shell]);
        ended.assert_code(0);
        assert!(ended.stdout.contains("config"), "{shell}: {}", ended.stdout);
        assert!(ended.stdout.contains("demo") && !ended.stdout.contains("demo-prefix"), "{shell}");
    }
    let ended = scratch.run(&["completions", "csh"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("bash"), "{}", ended.stderr);
}

#[test]
fn each_command_has_a_page_and_tables_keep_their_columns() {
    let scratch = Scratch::new();
    let ended = scratch.run(&["man", "pages/man1"]);
    ended.assert_code(0);
    let mut files = Vec::new();
    for file in fs::read_dir(scratch.path("pages/man1")).expect("a folder") {
        files.push(file.expect("a file").file_name().into_string().expect("text"));
    }
    for name in commands(&scratch) {
        assert!(files.contains(&format!("quell-{name}.1")), "{name}: {files:?}");
    }
    assert!(files.contains(&"quell-plan-check.1".to_owned()), "{files:?}");
    assert!(!files.iter().any(|file| file.contains("help") || file.contains("guard")));
    assert_eq!(ended.stdout.lines().count(), files.len());
    let text =
        |file: &str| String::from_utf8(scratch.read(&format!("pages/man1/{file}"))).expect("text");
    for file in &files {
        let page = text(file);
        assert!(page.contains(".SH NAME\n"), "{file}");
        // A line of text that begins like a request would be one.
        let is_request = |line: &str| line.starts_with(['.', '\'']);
        let known = [
            ".SH", ".SS", ".TH", ".TP", ".nf", ".fi", ".ie", ".el", ".br", ".PP", ".IP", ".RS",
            ".RE",
        ];
        for line in page.lines().filter(|line| is_request(line)) {
            assert!(known.iter().any(|name| line.starts_with(name)), "{file}: {line}");
        }
    }
    let codes = "  124   timed out";
    assert!(
        text("quell-run.1").contains(&format!(".nf\n{}", "Signals:")),
        "{}",
        text("quell-run.1")
    );
    assert!(text("quell-run.1").lines().any(|line| line == codes));
    assert_eq!(scratch.run(&["man"]).stdout, text("quell.1"));
    for name in ["plan", "process", "report", "events", "service", "answers", "templates"] {
        let page = text(&format!("quell-{name}.1"));
        for mark in ["`", "|---", "\n#", "\n| "] {
            assert!(!page.contains(mark), "{name}: {mark:?} in {page}");
        }
        assert!(page.contains(".SH DESCRIPTION\n") && page.len() > 2_000, "{page}");
    }
    assert!(text("quell-process.1").contains(".TP\n\\fBQUELL_RUN_ID\\fR\nthe id of the run"));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let scratch = Scratch::new();
    scratch.write("file", "");
    let ended = scratch.run(&["man", "file/man1"]);
    ended.assert_code(2);
    assert!(ended.stderr.starts_with("error: file/man1 cannot be written: "), "{}", ended.stderr);
}

fn unit() -> String {
    let unit = repository().join("crates/quell-server/deploy/quell.service");
    fs::read_to_string(unit).expect("the unit")
}

#[test]
fn what_the_guardians_of_a_service_hold_is_where_its_next_start_looks_for_it() {
    let unit = unit();
    let of = |key: &str| {
        let values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        values.collect::<Vec<_>>()
    };
    assert_eq!(of("PrivateTmp"), ["yes"], "so /tmp is another one at each start");
    let folder = of("Environment").into_iter().find_map(|pair| pair.strip_prefix("TMPDIR="));
    let folder = folder.expect("a folder that stays").strip_prefix("/var/lib/");
    let folders: Vec<_> =
        of("StateDirectory").into_iter().flat_map(str::split_whitespace).collect();
    assert!(folders.contains(&folder.expect("one of the service")), "{folders:?}");
}

#[test]
fn the_service_starts_what_init_writes() {
    let unit = unit();
    let start = "ExecStart=/usr/local/bin/quell serve ";
    let args = unit.lines().find_map(|line| line.strip_prefix(start)).expect("a command");
    let scratch = Scratch::new();
    scratch.run(&["init"]).assert_code(0);
    let args: Vec<&str> =
        args.split(' ').map(|word| word.strip_prefix("/etc/quell/").unwrap_or(word)).collect();
    let site = Site::with(scratch, &args);
    assert_eq!(site.get("/v1/runs").0, 200);
}

#[test]
fn the_notes_of_a_page_keep_their_lines_and_fit_a_terminal_of_80() {
    let scratch = Scratch::new();
    scratch.run(&["man", "pages"]).assert_code(0);
    for file in fs::read_dir(scratch.path("pages")).expect("a folder") {
        let path = file.expect("a file").path();
        let page = fs::read_to_string(&path).expect("text");
        let mut is_kept = false;
        let (_, notes) = page.split_once(".SH NOTES\n").unwrap_or_default();
        for line in notes.lines() {
            match line {
                ".nf" => is_kept = true,
                ".fi" => is_kept = false,
                // Before it are seven columns.
                line if is_kept => {
                    let shown = line.replace("\\-", "-").replace("\\&", "").replace("\\*(Aq", "'");
                    let columns = shown.chars().count();
                    assert!(columns <= 73, "{}: {columns} columns: {shown}", path.display());
                }
                _ => {}
            }
        }
    }
}
