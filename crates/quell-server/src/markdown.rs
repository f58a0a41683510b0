//! [`render`] writes a page of Markdown for `man`, as far as the pages of the help have it:
//! headings, paragraphs, lists, code and tables.

use std::io::{self, Write};
use std::iter::Peekable;
use std::str::Lines;

use clap_mangen::roff::{Inline, Roff, bold, roman};

/// Writes a page, whose first heading is its title.
pub(crate) fn render(text: &str, page: &mut impl Write) -> io::Result<()> {
    let mut roff = Roff::default();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let heading = line.trim_start_matches('#');
        if line.starts_with("```") {
            roff.control("nf", []);
            for line in lines.by_ref().take_while(|line| !line.starts_with("```")) {
                roff.text([roman(line)]);
            }
            roff.control("fi", []);
        } else if heading.len() < line.len() {
            let name = if line.starts_with("##") { heading } else { "DESCRIPTION" };
            roff.control("SH", [name.trim()]);
        } else if line.starts_with('|') {
            table(line, &mut lines, &mut roff);
        } else if line.is_empty() {
            roff.control("PP", []);
        } else {
            let item = line.strip_prefix("- ").map(|rest| ("•", rest));
            let item =
                item.or_else(|| line.split_once(' ').filter(|(number, _)| is_number(number)));
            if let Some((mark, _)) = item {
                roff.control("IP", [mark, "3"]);
            }
            roff.text(inline(item.map_or(line, |(_, rest)| rest).trim_start()));
        }
    }
    roff.to_writer(page)
}

/// Tells whether a word is the number of an item.
fn is_number(word: &str) -> bool {
    let digits = word.strip_suffix('.').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Writes a table: of a narrow one each row is a term with what is said of it, of a wide one the
/// columns stand below each other.
fn table(head: &str, lines: &mut Peekable<Lines<'_>>, roff: &mut Roff) {
    let mut rows = vec![cells(head)];
    while let Some(line) = lines.next_if(|line| line.starts_with('|')) {
        if !line.starts_with("|---") {
            rows.push(cells(line));
        }
    }
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    if columns > TERM_COLUMNS_MAX {
        rows.iter_mut().flatten().for_each(|cell| *cell = cell.replace('`', ""));
        let width = |column: usize| {
            let lengths = rows.iter().filter_map(|row| row.get(column));
            lengths.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        roff.control("nf", []);
        for row in &rows {
            let cells = row.iter().enumerate();
            let padded = cells.map(|(column, cell)| format!("{cell:0$}", width(column)));
            let line = padded.collect::<Vec<_>>().join("  ");
            roff.text([roman(line.trim_end())]);
        }
        roff.control("fi", []);
        return;
    }
    for row in rows.iter().skip(1) {
        let (term, said) = row.split_first().map_or(("", &[][..]), |(term, said)| (term, said));
        roff.control("TP", []).text(inline(term));
        let said: Vec<&str> = said.iter().map(String::as_str).filter(|it| !it.is_empty()).collect();
        roff.text(inline(&said.join("; ")));
    }
}

/// Splits a row of a table. A bar in a cell is written `\|`.
fn cells(row: &str) -> Vec<String> {
    let row = row.replace(r"\|", "\0");
    let row = row.trim().trim_start_matches('|').trim_end_matches('|');
    row.split('|').map(|cell| cell.trim().replace('\0', "|")).collect()
}

/// Yields a text in which code is bold and nothing else has marks.
fn inline(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts.map(|(nth, part)| if nth % 2 == 0 { roman(plain(part)) } else { bold(part) }).collect()
}

/// Takes the marks of emphasis away: `*word*`.
fn plain(text: &str) -> String {
    text.replace('*', "")
}

/// A table of more columns is drawn with its columns.
const TERM_COLUMNS_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_headings_terms_columns_and_code_and_no_marks() {
        let text = "# A page\n\nSome *plain* `code`.\n\n## Part\n\n\
                    | a | b |\n|---|---|\n| `x \\| y` | is it |\n\n\
                    ```sh\nrun | it\n```\n\n- one\n  more\n1. two\n\n\
                    | a | b | c | d |\n|---|---|---|---|\n| 1 | `22` | 3 | 4 |\n";
        let mut page = Vec::new();
        render(text, &mut page).expect("it is written");
        let page = String::from_utf8(page).expect("text");
        for right in [
            ".SH DESCRIPTION\n",
            "Some plain \\fBcode\\fR.\n",
            ".SH Part\n",
            ".TP\n\\fBx | y\\fR\nis it\n",
            ".nf\nrun | it\n.fi\n",
            ".IP • 3\none\nmore\n",
            ".IP 1. 3\ntwo\n",
            "1  22  3  4\n",
        ] {
            assert!(page.contains(right), "{right}\n\n{page}");
        }
        assert!(!page.contains('`') && !page.contains("|---"), "{page}");
    }
}
