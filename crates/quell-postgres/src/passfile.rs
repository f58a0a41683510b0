//! [`find`]: the password of a file, as libpq looks for it.

use std::fs;
use std::path::{Path, PathBuf};

use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// Finds the password of an address in a file: the one that is named, that of the variable
/// `PGPASSFILE`, or `~/.pgpass`. None if there is none.
///
/// # Errors
///
/// Fails with the file if others have a right to it: nothing of it is taken.
pub(crate) fn find(config: &Config, named: Option<&str>) -> Result<Option<String>, PathBuf> {
    let of_variable = || std::env::var_os("PGPASSFILE").map(PathBuf::from);
    let of_user = || std::env::home_dir().map(|home| home.join(".pgpass"));
    let file = named.map(PathBuf::from).or_else(of_variable).or_else(of_user);
    match file {
        Some(file) if is_private(&file) => Ok(read(config, &file)),
        Some(file) if file.is_file() => Err(file),
        _ => Ok(None),
    }
}

fn read(config: &Config, file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        #[cfg(unix)]
        Some(Host::Unix(_)) => "localhost".into(),
        None => config.get_hostaddrs().first()?.to_string(),
    };
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    let port = config.get_ports().first().copied().unwrap_or(PORT).to_string();
    look(&text, [&host, &port, database, user])
}

/// Looks for the first line that fits: host, port, database, user and password, with colons between
/// them, of which the first four may be `*`.
fn look(text: &str, wanted: [&str; 4]) -> Option<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(fields).find_map(|fields| {
        let (password, of) = fields.split_last().filter(|(_, of)| of.len() == wanted.len())?;
        let fits = of.iter().zip(wanted).all(|(field, wanted)| field == "*" || field == wanted);
        fits.then(|| password.clone())
    })
}

/// Splits a line at its first four colons. A backslash takes its meaning from what follows it.
fn fields(line: &str) -> Vec<String> {
    let (mut all, mut left) = (vec![String::new()], line.chars());
    while let Some(next) = left.next() {
        let is_end = next == ':' && all.len() < 5;
        if is_end {
            all.push(String::new());
        } else if let Some(field) = all.last_mut() {
            field.extend(if next == '\\' { left.next() } else { Some(next) });
        }
    }
    all
}

#[cfg(unix)]
fn is_private(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    let of_others = 0o077;
    fs::metadata(file).is_ok_and(|it| it.is_file() && it.permissions().mode() & of_others == 0)
}

/// The system knows no rights of others.
#[cfg(not(unix))]
fn is_private(file: &Path) -> bool {
    file.is_file()
}

/// Where PostgreSQL listens if nothing else is said.
pub(crate) const PORT: u16 = 5432;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    #[test]
    fn the_first_line_that_fits_counts() {
        let text = "# h:5432:d:u:comment\nh:5432:d:other:no\nh:1:d:u:no\nh\\:h:*:*:u:co\\:lon:s\n\
            h:*:d:u:yes\n*:*:*:*:late\n";
        assert_eq!(look(text, ["h", "5432", "d", "u"]).as_deref(), Some("yes"));
        assert_eq!(look(text, ["h:h", "7", "e", "u"]).as_deref(), Some("co:lon:s"));
        assert_eq!(look(text, ["i", "5432", "d", "v"]).as_deref(), Some("late"));
        assert_eq!(look("h:1:d:u\n", ["h", "1", "d", "u"]), None);
    }

    #[test]
    fn a_file_that_others_may_read_has_no_password() {
        use std::os::unix::fs::PermissionsExt as _;

        let file = std::env::temp_dir().join(format!("quell-passfile-{}", std::process::id()));
        fs::write(&file, "localhost:5433:runs:ada:open sesame\n").unwrap();
        let text = format!("host=/run port=5433 user=ada dbname=runs passfile={}", file.display());
        for (mode, password) in [(0o644, None), (0o600, Some(&b"open sesame"[..]))] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let address = Address::read(&text).unwrap();
            assert_eq!(address.config.get_password(), password);
            assert_eq!(address.open_file, password.is_none().then(|| file.clone()));
        }
        fs::remove_file(file).unwrap();
    }
}
