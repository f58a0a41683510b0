//! `quell completions` and `quell man`: what a shell and `man` know of the command line.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use quell_flow::path_text;

use crate::exit::EXIT_USAGE;
use crate::markdown;
use crate::stdout;

/// What `quell completions` is told.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell whose script it is
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// What `quell man` is told.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write the pages of all commands into this folder, which is made if it is missing. Without it
    /// the page of `quell` goes to stdout
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Prints what a shell reads to complete the command line.
pub(crate) fn completions(args: &CompletionsArgs, cli: &Command) -> ExitCode {
    let mut shown = without_hidden(cli).version(env!("CARGO_PKG_VERSION"));
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut shown, "quell", &mut script);
    let names = if args.shell == Shell::Bash { BASH_NAMES } else { "" };
    stdout::say(&(String::from_utf8_lossy(&script) + names))
}

/// What completes names of components and steps, which the generated script does not know. The
/// engine of clap that would, for every shell, is unstable.
const BASH_NAMES: &str = include_str!("completions.bash");

/// Yields a command without what is hidden: scripts know nothing of that, and would complete it.
fn without_hidden(command: &Command) -> Command {
    let arguments = command.get_arguments().filter(|one| !one.is_hide_set());
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    let shown = Command::new(command.get_name().to_owned())
        .args(arguments)
        .subcommands(below.map(without_hidden));
    match command.get_about() {
        Some(about) => shown.about(about.clone()),
        None => shown,
    }
}

/// Prints a page for `man`, or writes all of them; yields the exit code: 0, or 2 if one cannot be
/// written.
pub(crate) fn man(args: &ManArgs, mut cli: Command) -> ExitCode {
    cli.build();
    let cli = without_help(cli);
    let Some(folder) = &args.folder else {
        let page = page(&cli).unwrap_or_default();
        return stdout::say(&String::from_utf8_lossy(&page));
    };
    match write_pages(folder, &cli) {
        Ok(said) => stdout::say(&said),
        Err(said) => {
            stdout::complain(&said);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Writes the page of each command, and yields what to say.
fn write_pages(folder: &Path, cli: &Command) -> Result<String, String> {
    let failed = |path: &Path, error: io::Error| {
        format!("error: {} cannot be written: {error}\n", path_text(path))
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let mut said = Vec::new();
    for command in all(cli) {
        let path = folder.join(format!("{}.1", named(command)));
        let write = || File::create(&path)?.write_all(&page(command)?);
        write().map_err(|error| failed(&path, error))?;
        said.push(format!("wrote {}\n", path_text(&path)));
    }
    Ok(said.concat())
}

/// Hides `help`, of which there is no page.
fn without_help(command: Command) -> Command {
    command.mut_subcommands(|below| {
        let is_hidden = below.is_hide_set() || below.get_name() == "help";
        without_help(below).hide(is_hidden)
    })
}

/// Yields a command and all below it that are shown.
fn all(command: &Command) -> Vec<&Command> {
    let is_shown = |one: &&Command| !one.is_hide_set();
    let below = command.get_subcommands().filter(is_shown).flat_map(all);
    std::iter::once(command).chain(below).collect()
}

/// Yields the name of a command's page: `quell-plan-check`.
fn named(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// Writes the page of a command. What stands below its help has lines and columns of its own, which
/// are kept. The text of a command that is a page, and one below its long help, is Markdown.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let source = concat!("quell ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).manual("quell").source(source);
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    let takes_nothing = command.get_arguments().all(|one| one.get_id() == "help");
    let whole = command.get_long_about().filter(|text| text.to_string().starts_with("# "));
    let text = command.get_after_long_help().or(whole);
    match text {
        Some(text) => markdown::render(&text.to_string(), &mut page)?,
        None => man.render_description_section(&mut page)?,
    }
    if text.is_none() || !takes_nothing {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(text) = command.get_after_help() {
        as_it_stands("NOTES", &text.to_string(), &mut page)?;
    }
    Ok(page)
}

fn as_it_stands(section: &str, text: &str, page: &mut impl Write) -> io::Result<()> {
    let mut roff = Roff::default();
    roff.control("SH", [section]).control("nf", []);
    for line in text.lines().flat_map(wrapped) {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.to_writer(page)
}

/// Breaks a line that is too long for a page. What follows stands below the last column of the
/// line, or below its text.
fn wrapped(line: &str) -> Vec<String> {
    let text = line.trim_start();
    let margin = line.len() - text.len();
    let column = line.rfind("  ").map_or(margin, |gap| line[..gap + 2].chars().count());
    let indent = if column > COLUMNS_MAX / 2 { margin } else { column };
    let mut lines = vec![String::new()];
    // The spaces between the columns belong to the word behind them.
    for word in line.split_inclusive(' ') {
        let Some(last) = lines.last_mut() else { break };
        let columns = last.chars().count() + word.trim_end().chars().count();
        if columns > COLUMNS_MAX && last.chars().count() > indent {
            last.truncate(last.trim_end().len());
            lines.push(format!("{:indent$}{word}", ""));
        } else {
            last.push_str(word);
        }
    }
    lines
}

/// The longest line of a page that keeps its columns. `man` has 7 columns before it, and most
/// terminals 80.
const COLUMNS_MAX: usize = 73;
