//! [`Checked`]: a configuration in which nothing is wrong, as far as one can see without serving.

use std::path::Path;

use quell_flow::{Catalog, PlanError};
use quell_http::Access;

use super::file::Config;
use super::set::Setting;

/// A configuration without faults, and what is made of it.
pub(crate) struct Checked {
    /// The configuration, with the secrets that contracts need.
    pub(crate) config: Config,
    /// Its keys and tokens.
    pub(crate) access: Access,
    /// Its components.
    pub(crate) catalog: Catalog,
}

impl Checked {
    /// Reads a file, if one is named, and applies settings to it.
    ///
    /// # Errors
    ///
    /// Fails with every fault: of the file, of the plans that it names, a secret that is not in the
    /// environment, a scope that nothing asks for, a program that cannot be started.
    pub(crate) fn load(path: Option<&Path>, settings: &[Setting]) -> Result<Self, Vec<PlanError>> {
        let (mut config, mut faults) = Config::read(path, settings);
        let is_whole = faults.is_empty();
        faults.extend(config.take_secrets().err());
        let access = config.access().map_err(|found| faults.extend(found));
        faults.extend(config.component_faults());
        // Without what was left out, others would seem to name a component that is not there.
        let catalog = if is_whole { config.components(Catalog::new()) } else { Ok(Catalog::new()) };
        let catalog = catalog.map_err(|found| faults.extend(found));
        match (access, catalog) {
            (Ok(access), Ok(catalog)) if faults.is_empty() => Ok(Self { config, access, catalog }),
            _ => Err(in_order(faults)),
        }
    }
}

/// Sorts the faults of each file by their places; the files remain in their order.
fn in_order(mut faults: Vec<PlanError>) -> Vec<PlanError> {
    let files: Vec<_> = faults.iter().map(|fault| fault.file().map(Path::to_owned)).collect();
    let place = |fault: &PlanError| files.iter().position(|file| file.as_deref() == fault.file());
    faults.sort_by_key(|fault| (place(fault), fault.line(), fault.column()));
    faults
}
