//! `--set`: a fault of a setting is laid to the setting, and none can steer a terminal.

use crate::support::Scratch;

#[track_caller]
fn refused(scratch: &Scratch, setting: &str) -> String {
    let args = ["serve", "--config", "quell.toml", "--listen", "127.0.0.1:0", "--set", setting];
    let ended = scratch.run(&args);
    ended.assert_code(2);
    ended.stderr
}

#[test]
fn a_fault_that_a_setting_has_made_is_laid_to_the_setting() {
    let scratch = Scratch::new();
    let agents = "[agents.writer]\nrun = ['true']\n\n[agents.ask]\nurl = 'http://h/'\n";
    scratch.write("quell.toml", agents);
    for (setting, begin, says) in [
        ("agents.x.plan=gone.toml", "error: --set agents.x.plan=gone.toml: ", "no such file"),
        ("agents.x.url=http://u:P@h/", "error: --set agents.x.url=…: ", ""),
        ("agents.writer.run=[\"nosuchprog\"]", "error: --set agents.writer.run=…: ", "nosuchprog"),
        ("agents.writer.run=[]", "error: --set agents.writer.run=…: ", "empty command"),
        ("agents.writer.plan=a.toml", "error: --set agents.writer.plan=a.toml: ", ""),
        ("agents.x.description=new", "error: --set agents.x.description=…: ", "`x`: expected one"),
        ("agents.writer.nodes=['a','a']", "error: --set agents.writer.nodes=…: ", "stands twice"),
        ("agents.ask.nodes=['__end__']", "error: --set agents.ask.nodes=…: ", "no name of a node"),
        ("agents.ask={}", "error: --set agents.ask=…: ", "expected one of `run"),
    ] {
        let stderr = refused(&scratch, setting);
        assert!(stderr.starts_with(begin) && stderr.contains(says), "{setting}: {stderr}");
        assert!(!stderr.contains("quell.toml:") && !stderr.contains(":P@"), "{setting}: {stderr}");
    }
    // What the file has is the fault of the file.
    scratch.write("quell.toml", "[agents.x]\nurl = 'http:///'\n");
    let stderr = refused(&scratch, "agents.x.description=new");
    assert!(stderr.starts_with("error: quell.toml:2:7: "), "{stderr}");
}

#[test]
fn what_is_wrong_on_a_command_line_neither_steers_a_terminal_nor_begins_a_line() {
    let scratch = Scratch::new();
    scratch.write("quell.toml", "[agents.a]\nrun = ['true']\n");
    let bad = "zz\u{1b}[31m\nerror: b";
    let (setting, torn) = (format!("{bad}.b=3"), format!("agents.{bad}.plan=gone.toml"));
    for args in [
        &["serve", "--set", &setting][..],
        &["serve", "--set", &torn],
        &["serve", "--set", bad],
        &["serve", "--listen", bad],
        &["runs", "--store", "x", "--status", bad],
        &["run", "a", "--input", bad],
        &["run", "a", "--timeout", bad],
        &["run", "--only", bad, "--from", bad, "a"],
        &["run", "--", "no", bad, "--", bad],
        &["show", bad, "--store", "x"],
        &["init", "a", bad],
        &[bad],
        &["help", bad],
        &["run", &format!("--{bad}")],
    ] {
        let ended = scratch.run(args);
        assert_ne!(ended.code, Some(0), "{args:?}: {ended:?}");
        let said = ended.stdout + &ended.stderr;
        assert!(!said.contains('\u{1b}'), "{args:?}: {said:?}");
        assert!(!said.lines().any(|line| line.starts_with("error: b")), "{args:?}: {said}");
    }
    // The lines of the message itself stay.
    let said = scratch.run(&[bad]).stderr;
    assert!(said.contains("'…'") && said.lines().count() > 2, "{said}");
}
