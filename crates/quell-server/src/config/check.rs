//! [`Checked`]: a configuration in which nothing is wrong, as far as one can see without serving.

use std::net::SocketAddr;
use std::path::Path;

use quell_flow::{Catalog, PlanError};
use quell_http::Access;

use super::access::{Source, Trusted};
use super::file::Config;
use super::set::Setting;
use super::store::AskedStore;

/// What is asked for beside the file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked<'a> {
    /// Values over those of the file.
    pub(crate) settings: &'a [Setting],
    /// Where to listen instead of where the file says.
    pub(crate) listen: Option<SocketAddr>,
    /// The store, in place of that of the file.
    pub(crate) store: Option<&'a AskedStore>,
    /// Whether the components of the demo are served as well.
    pub(crate) demo: bool,
}

/// A configuration without faults, and what is made of it.
pub(crate) struct Checked {
    /// The configuration, with the secrets that contracts need.
    pub(crate) config: Config,
    /// Its keys and tokens.
    pub(crate) trusted: Trusted,
    /// Where these are read from.
    pub(crate) source: Source,
    /// Its components.
    pub(crate) catalog: Catalog,
    /// What is no fault and should be otherwise: of the plans, of the scopes, of contracts that ask
    /// for no key, of what waits or goes on where it cannot, of a certificate that is not valid
    /// now, of keys that come without TLS.
    pub(crate) warnings: Vec<PlanError>,
}

/// A configuration in which something is wrong.
pub(crate) struct Refused {
    /// What is wrong, at least one fault.
    pub(crate) faults: Vec<PlanError>,
    /// What should be otherwise in that of it which could be read.
    pub(crate) warnings: Vec<PlanError>,
}

impl Checked {
    /// Reads a file, if one is named, with what else is asked for.
    ///
    /// # Errors
    ///
    /// Fails with every fault: of the file, of the plans that it names, a secret that is not in the
    /// environment, a scope that nothing asks for, a program that cannot be started, a store that
    /// cannot be where it is to be, a component to be offered that is not there, an address that
    /// needs keys, an origin that no page has, or if the file has nothing to serve.
    pub(crate) fn load(path: Option<&Path>, asked: Asked<'_>) -> Result<Self, Refused> {
        let (mut config, mut faults) = Config::read(path, asked.settings);
        if let Some(store) = asked.store {
            config.ask_store(store);
        }
        let is_whole = faults.is_empty();
        faults.extend(config.take_secrets().err());
        let mut trusted = match config.trusted(&[]) {
            Ok(trusted) => {
                // The demo refuses every such address. Keys that were left out because of their
                // faults will be there.
                if !asked.demo && (is_whole || !config.names_keys()) {
                    faults.extend(config.listen_fault(&trusted.access, asked.listen));
                }
                trusted
            }
            Err(found) => {
                faults.extend(found);
                let (published, warnings) = (Vec::new(), Vec::new());
                Trusted { access: Access::open(), published, tls: None, warnings }
            }
        };
        faults.extend(config.id_faults());
        faults.extend(config.limits_fault());
        faults.extend(config.all_nodes_faults());
        faults.extend(config.origin_faults());
        faults.extend(config.platform_faults());
        faults.extend(config.store_fault());
        faults.extend(config.component_faults());
        let (catalog, found) = config.components();
        faults.extend(found);
        // Those of the demo are added later.
        if !asked.demo {
            faults.extend(config.offer_faults(&catalog));
            // What has a fault may be what is served.
            if is_whole {
                faults.extend(config.serves_nothing(&catalog));
            }
        }
        let mut warnings = config.plan_warnings(&catalog);
        warnings.extend(config.member_warnings(&catalog));
        warnings.extend(config.env_warnings());
        warnings.extend(config.store_warnings());
        warnings.append(&mut trusted.warnings);
        if !faults.is_empty() {
            // The others are of what is not there, which may have been left out for its faults.
            return Err(Refused { faults: in_order(faults), warnings: in_order(warnings) });
        }
        warnings.extend(config.lost_warnings(config.has_store()));
        if !asked.demo {
            warnings.extend(config.scope_warnings(&catalog));
            warnings.extend(config.open_warning(&catalog));
            warnings.extend(config.plain_warning(&trusted, asked.listen));
        }
        let (file, settings) = (path.map(Path::to_owned), asked.settings.to_vec());
        let source = Source { file, settings };
        Ok(Self { config, trusted, source, catalog, warnings: in_order(warnings) })
    }
}

/// Sorts the faults of each file by their places; the files remain in their order. What two
/// components of the same plan have is one fault.
pub(crate) fn in_order(mut faults: Vec<PlanError>) -> Vec<PlanError> {
    let files: Vec<_> = faults.iter().map(|fault| fault.file().map(Path::to_owned)).collect();
    let place = |fault: &PlanError| files.iter().position(|file| file.as_deref() == fault.file());
    faults.sort_by_key(|fault| (place(fault), fault.line(), fault.column()));
    faults.dedup_by_key(|fault| fault.to_string());
    faults
}
