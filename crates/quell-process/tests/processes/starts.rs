//! How a process starts, or does not.

use std::fs;

use quell::{Engine, Outcome, RunSpec, RunStatus};
use quell_process::{Process, ProcessOutput};

use crate::support::{Scratch, failure_of, output_of, script, start};

#[test]
fn processes_go_from_thread_to_thread() {
    fn assert<T: Send + Sync + Clone + std::fmt::Debug>() {}
    assert::<Process>();
    assert::<ProcessOutput>();
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let (message, partial) = failure_of(Process::new("no-such-program")).await;
    assert!(message.contains("`no-such-program`"), "{message}");
    assert!(message.contains("No such file or directory"), "{message}");
    assert_eq!(partial, None);
}

#[tokio::test]
async fn a_file_that_may_not_be_executed_is_named() {
    let scratch = Scratch::new("not-executable");
    let file = scratch.path().join("notes.txt");
    fs::write(&file, "hello").unwrap();
    let (message, _) = failure_of(Process::new(&file)).await;
    assert!(message.contains(file.to_str().unwrap()), "{message}");
    assert!(message.contains("Permission denied"), "{message}");
}

#[tokio::test]
async fn of_a_script_without_its_first_line_the_message_says_what_that_is() {
    let scratch = Scratch::new("no-interpreter");
    let file = scratch.executable("script", "echo hello\n");
    let (message, _) = failure_of(Process::new(&file)).await;
    assert!(message.contains("; a script begins with a line such as `#!/bin/sh`"), "{message}");
}

#[tokio::test]
async fn a_directory_is_no_program() {
    let (message, _) = failure_of(Process::new("/tmp")).await;
    assert_eq!(message, "cannot start `/tmp`: it is a directory");
}

#[tokio::test]
async fn a_line_for_a_shell_is_no_program_and_the_message_says_so() {
    let (message, _) = failure_of(Process::new("echo hi | wc")).await;
    assert!(message.ends_with("apart, or run `sh -c`"), "{message}");
    let (message, _) = failure_of(Process::new("quell-no-such-program")).await;
    assert!(message.ends_with("(os error 2)"), "{message}");
}

#[tokio::test]
async fn a_variable_in_the_place_of_a_program_is_named_without_its_value() {
    for program in ["API_KEY=hush", "_A1=bin/hush", "A=hush make", "A==hush"] {
        let name = program.split('=').next().unwrap();
        let (message, _) = failure_of(Process::new(program)).await;
        let right = format!(
            "cannot start `{name}=…`: No such file or directory (os error 2); no shell reads it: a \
             variable stands in `env`"
        );
        assert_eq!(message, right);
    }
    for (program, shown) in [("=a", "=…"), ("1A=b", "1A=…"), ("a-b=c", "a-b=…")] {
        let (message, _) = failure_of(Process::new(program)).await;
        assert!(message.starts_with(&format!("cannot start `{shown}`: No such")), "{message}");
    }
}

#[tokio::test]
async fn what_may_be_a_secret_is_not_named_of_a_program_and_a_folder_that_are_none() {
    for (program, shown) in [
        ("quell-none --key hush", "quell-none…"),
        ("quell-none\thush", "quell-none…"),
        ("--key=hush", "--key=…"),
        ("/tmp/A=hush", "/tmp/A=…"),
        ("quell-none?key=hush", "quell-none?…"),
        ("/tmp/https:/ann:hush@h/x", "/tmp/https:…"),
        ("quell-none\nhush", "quell-none…"),
    ] {
        let (message, _) = failure_of(Process::new(program)).await;
        assert!(message.starts_with(&format!("cannot start `{shown}`: No such")), "{message}");
        assert!(!message.contains("hush"), "{message}");
    }
    for (cwd, shown) in [
        ("/tmp/A=hush", "/tmp/A=…"),
        ("/tmp/no such?key=hush", "/tmp/no such?…"),
        ("/tmp/quell-none\nhush", "/tmp/quell-none…"),
    ] {
        let (message, _) = failure_of(Process::new("true").cwd(cwd)).await;
        let right = format!("cannot start `true`: its working directory `{shown}`: No such");
        assert!(message.starts_with(&right), "{message}");
    }
}

/// It has started, so that its name is one.
#[tokio::test]
async fn a_program_with_a_space_in_its_path_is_named_whole_when_it_fails() {
    let scratch = Scratch::new("spaces");
    let file = scratch.executable("a tool", "#!/bin/sh\nexit 3\n");
    let (message, _) = failure_of(Process::new(&file)).await;
    assert!(message.contains("a tool` ended with exit status: 3"), "{message}");
}

#[tokio::test]
async fn a_missing_working_directory_is_named() {
    let (message, _) = failure_of(Process::new("ls").cwd("/no/such/directory")).await;
    assert!(message.contains("`ls`") && message.contains("`/no/such/directory`"), "{message}");
    assert!(message.contains("No such file or directory"), "{message}");
}

#[tokio::test]
async fn a_file_is_no_working_directory() {
    let (message, _) = failure_of(Process::new("ls").cwd("/etc/passwd")).await;
    assert!(message.contains("`/etc/passwd`: Not a directory"), "{message}");
}

#[tokio::test]
async fn a_nul_byte_is_refused() {
    for process in [Process::new("l\0s"), Process::new("ls").arg("\0"), Process::new("")] {
        let (message, _) = failure_of(process).await;
        assert!(message.starts_with("cannot start `"), "{message}");
    }
}

#[tokio::test]
async fn it_runs_where_it_is_told_with_what_it_is_given() {
    let scratch = Scratch::new("where");
    let process = script(r#"pwd -P; echo "$GREETING, $1""#).args(["sh", "world"]);
    let output = output_of(process.cwd(scratch.path()).env("GREETING", "hello")).await;
    let cwd = fs::canonicalize(scratch.path()).unwrap();
    assert_eq!(output.stdout, format!("{}\nhello, world\n", cwd.display()));
}

#[tokio::test]
async fn a_variable_that_is_taken_out_is_not_there_unless_it_is_set_again() {
    // Cargo sets it for tests, and no shell does.
    let said = || script(r#"echo "${CARGO_PKG_NAME+there} $CARGO_PKG_NAME""#);
    let without = || said().env_remove("CARGO_PKG_NAME");
    assert_eq!(output_of(said()).await.stdout, "there quell-process\n");
    assert_eq!(output_of(without()).await.stdout, " \n");
    assert_eq!(output_of(without().env("CARGO_PKG_NAME", "it")).await.stdout, "there it\n");
}

#[tokio::test]
async fn a_relative_program_counts_from_its_working_directory() {
    let scratch = Scratch::new("relative");
    std::os::unix::fs::symlink("/bin/echo", scratch.path().join("say")).unwrap();
    let output = output_of(Process::new("./say").arg("hi").cwd(scratch.path())).await;
    assert_eq!(output.stdout, "hi\n");
}

#[tokio::test]
async fn it_leads_a_group_of_its_own() {
    let output = output_of(script("echo $$; ps -o pgid= -p $$")).await;
    let numbers: Vec<_> = output.stdout.split_whitespace().collect();
    assert_eq!(numbers[0], numbers[1]);
}

#[tokio::test]
async fn input_arrives_on_stdin() {
    assert_eq!(output_of(Process::new("cat").input("hello")).await.stdout, "hello");
    assert_eq!(output_of(Process::new("cat").input("")).await.stdout, "");
}

#[tokio::test]
async fn without_input_stdin_is_empty() {
    assert_eq!(output_of(Process::new("cat")).await.stdout, "");
}

#[tokio::test]
async fn input_and_output_larger_than_a_pipe_do_not_block_each_other() {
    let input = "0123456789abcde\n".repeat(1 << 17);
    let output = output_of(Process::new("cat").input(input.as_str())).await;
    assert!(output.stdout == input && !output.stdout_truncated);
}

#[tokio::test]
async fn input_that_nobody_reads_is_no_failure() {
    let output = output_of(script("exec <&-; echo done").input(vec![b'x'; 1 << 20])).await;
    assert_eq!(output.stdout, "done\n");
}

#[tokio::test]
async fn processes_of_one_run_do_not_disturb_each_other() {
    let scratch = Scratch::new("two");
    let (short, long) = ("touch go", "until [ -e go ]; do sleep 0.01; done; sleep 0.5; echo done");
    let (short, long) = (script(short).cwd(scratch.path()), script(long).cwd(scratch.path()));
    let engine = Engine::new();
    let run = engine.submit(RunSpec::step("both"), |ctx| async move {
        let (short, long) = tokio::join!(short.run(ctx.clone()), long.run(ctx));
        short.and(long)
    });
    let Outcome::Completed(output) = run.unwrap().outcome().await else { panic!("one failed") };
    assert_eq!(output.stdout, "done\n");
}

#[test]
fn a_runtime_without_io_fails_the_run_and_leaves_nothing_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (_, report) = runtime.block_on(async {
        start(RunSpec::step("no-io"), Process::new("sleep").arg("600")).end().await
    });
    assert_eq!(report.status, RunStatus::Failed);
    assert!(report.quiescent);
}
