//! [`Standing`]: how a run stands, as far as it matters to what may be written of it.

use quell_core::RunId;
use quell_core::store::{Epoch, StoreError};

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its epoch.
    pub epoch: Epoch,
    /// Whether it is terminal.
    pub has_ended: bool,
}

impl Standing {
    /// Says why a record of an epoch was not stored, by how its run stands; none is one that is not
    /// there.
    pub fn refusal(found: Option<Self>, run: RunId, epoch: Epoch) -> StoreError {
        match found {
            None => StoreError::Unknown { run },
            Some(found) if epoch < found.epoch => {
                StoreError::Fenced { run, epoch, current: found.epoch }
            }
            Some(found) if found.has_ended => StoreError::Ended { run },
            Some(_) => StoreError::Live { run },
        }
    }
}
