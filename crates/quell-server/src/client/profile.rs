//! [`profile`]: where servers are and which keys they have, as the user's file of profiles says.

use std::collections::BTreeMap;
use std::env;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use quell_flow::path_text;
use serde::Deserialize;

use crate::quoted::quoted_word;
use crate::small_file;

/// A server, and where its key is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    /// The address of the server.
    pub(super) server: String,
    /// The environment variable that has the key.
    pub(super) key_env: Option<String>,
}

/// Yields a profile by its name, or the one called `default`, which need not be there.
///
/// # Errors
///
/// Fails if the file cannot be read, or has no profile of that name.
pub(super) fn profile(name: Option<&str>) -> Result<Option<Profile>, String> {
    let Some(file) = file() else {
        return match name {
            Some(_) => Err("neither XDG_CONFIG_HOME nor HOME says where profiles are".to_owned()),
            None => Ok(None),
        };
    };
    let shown = path_text(&file);
    let mut all = read(&file, name.is_some()).map_err(|words| format!("{shown}: {words}"))?;
    let found = all.remove(name.unwrap_or(DEFAULT));
    match (found, name) {
        (None, Some(name)) => Err(format!("{shown}: no profile `{}`", quoted_word(name))),
        (found, _) => Ok(found),
    }
}

fn read(file: &Path, is_needed: bool) -> Result<BTreeMap<String, Profile>, String> {
    match small_file::read(file, FILE_BYTES_MAX) {
        Ok(bytes) => parse(str::from_utf8(&bytes).map_err(|_| "is not UTF-8")?),
        Err(error) if error.kind() == ErrorKind::NotFound && !is_needed => Ok(BTreeMap::new()),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads the file. What is wrong is told with its line, and never with its text, which may be a
/// key.
fn parse(text: &str) -> Result<BTreeMap<String, Profile>, String> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        format!("line {line} is not right; {RIGHT}")
    })
}

/// Yields the path of the file.
fn file() -> Option<PathBuf> {
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(folder.join("quell").join("profile.toml"))
}

/// The profile that counts if none is named.
const DEFAULT: &str = "default";

const FILE_BYTES_MAX: u64 = 64 << 10;

const RIGHT: &str = "expected tables such as `[prod]` with `server = \"https://…\"` and \
                     `key_env = \"NAME\"`, the name of a variable and not the key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_its_line_and_no_text_of_the_file() {
        let right = "[a]\nserver = 'http://a'\n[b]\nserver = 'http://b'\nkey_env = 'B'\n";
        let all = parse(right).expect("it is right");
        assert_eq!((all.len(), all["b"].key_env.as_deref()), (2, Some("B")));
        for (text, line) in [
            ("[a]\nserver = 'http://a'\nkey = 'hush'\n", "line 3 "),
            ("[a]\nkey_env = 'hush'\n", "line 1 "),
            ("server = 'hush'\n", "line 1 "),
            ("[a]\n\nserver = hush\n", "line 3 "),
        ] {
            let words = parse(text).expect_err(text);
            assert!(words.starts_with(line) && !words.contains("hush"), "{text}: {words}");
        }
    }
}
