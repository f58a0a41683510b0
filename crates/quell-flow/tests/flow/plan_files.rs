//! Plans from files: by extension, within bounds, and named in their errors.

use std::path::PathBuf;

use quell_flow::{Plan, PlanFormat, limits};

/// A file of its own for one test, removed when dropped.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("quell-flow-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

#[test]
fn a_file_is_read_by_its_extension_and_named_in_its_errors() {
    let toml =
        TempFile::new("good.toml", b"name = \"a\"\nsteps = [{name = \"s\", run = [\"ls\"]}]");
    let json = br#"{"name": "a", "steps": [{"name": "s", "run": ["ls"]}]}"#;
    let json = TempFile::new("good.json", json);
    assert_eq!(Plan::load(&toml.0).unwrap(), Plan::load(&json.0).unwrap());

    let bad = TempFile::new("bad.toml", b"name = \"a\"\n  comand = 1\n");
    let error = Plan::load(&bad.0).unwrap_err();
    let start = format!("{}:2:3: unknown key `comand`; expected one of", bad.0.display());
    assert!(error.to_string().starts_with(&start), "{error}");
    assert_eq!(error.file(), Some(&*bad.0));
}

#[test]
fn a_file_that_cannot_be_a_plan_is_refused_with_its_name() {
    let large = TempFile::new("large.toml", &vec![b'#'; limits::PLAN_BYTES_MAX + 1]);
    let binary = TempFile::new("binary.json", b"{\n\xff}");
    let yaml = TempFile::new("plan.yaml", b"name: a");
    let text = TempFile::new("plan.txt", b"name: a");
    let bare = TempFile::new("plan", b"name = 1");
    let folder = std::env::temp_dir();
    let gone = folder.join("quell-flow-no-such-plan.toml");
    for (path, words) in [
        (&large.0, ": plan has more than 1048576 bytes, the limit"),
        (&binary.0, ":2:1: invalid UTF-8; expected text"),
        (&yaml.0, ":1:1: plan has no `steps`"),
        (&text.0, ": unknown extension `txt`; expected `.toml`, `.json`, `.yaml`"),
        (&bare.0, ": no extension; expected `.toml`, `.json`, `.yaml`"),
        (&gone, ": no such file"),
    ] {
        let error = Plan::load(path).unwrap_err();
        assert_eq!(error.to_string(), format!("{}{words}", path.display()));
    }
}

#[test]
fn a_folder_is_no_plan() {
    let folder = std::env::temp_dir().join(format!("quell-flow-{}.toml", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let error = Plan::load(&folder).unwrap_err();
    std::fs::remove_dir(&folder).unwrap();
    assert!(error.to_string().ends_with(".toml: expected a file"), "{error}");
}

#[test]
fn the_name_of_a_file_neither_steers_a_terminal_nor_begins_a_line() {
    for (name, shown) in [
        ("no\n\u{1b}[2J.toml", r"no\n\u{1b}[2J.toml: no such file"),
        (
            "a.x\u{1b}\ny",
            r"a.x\u{1b}\ny: unknown extension `x\u{1b}…`; expected `.toml`, `.json`, `.yaml`",
        ),
    ] {
        assert_eq!(Plan::load(name).unwrap_err().to_string(), shown);
    }
    let faults = Plan::read_all("name: 7".as_bytes(), "std\nin").unwrap_err();
    assert!(faults[0].to_string().starts_with(r"std\nin:1:1: "), "{faults:?}");
}

#[test]
fn a_text_in_another_format_than_its_file_is_said_to_be() {
    let yaml = "name: p\nsteps: []\n";
    let toml = "name = 'p'\nsteps = []\n";
    for (format, text, says) in [
        (PlanFormat::Json, yaml, "looks like YAML, whose files are called `.yaml`"),
        (PlanFormat::Toml, yaml, "looks like YAML"),
        (PlanFormat::Json, toml, "looks like TOML"),
        (PlanFormat::Yaml, toml, "looks like TOML"),
        (PlanFormat::Toml, "{\"name\": \"p\"}", "looks like JSON"),
    ] {
        let faults = format.read(text).unwrap_err();
        assert!(faults[0].message().contains(says), "{faults:?}");
    }
    for (format, text) in [
        (PlanFormat::Json, "{\"name\": p}"),
        (PlanFormat::Json, "// a: b\n{}"),
        (PlanFormat::Toml, "name = p"),
        (PlanFormat::Toml, "[a: b]"),
        (PlanFormat::Yaml, "name: [p"),
    ] {
        let faults = format.read(text).unwrap_err();
        assert!(!faults[0].message().contains("looks like"), "{faults:?}");
    }
}

#[test]
fn what_may_be_missing_is_said_of_yaml_that_cannot_be_read() {
    for (text, says) in [
        ("name: \"p\n steps: []\nb: c\n", "quotes at the end of a text may be missing"),
        ("name: \"p\n", "quotes at the end of a text may be missing"),
        ("name: p\ninput: [1\nsteps: []\n", "a bracket, `]` or `}`, may be missing"),
        ("name: p\nsteps:\n- run: ['x'] y\n", "the quotes of what stands before"),
    ] {
        let faults = PlanFormat::Yaml.read(text).unwrap_err();
        assert!(faults[0].message().contains(says), "{text}{faults:?}");
    }
}
