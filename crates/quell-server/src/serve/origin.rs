//! [`Origin`]: where the runs of a server are kept.

use std::path::PathBuf;

use super::log::Log;
use crate::signals::Signals;
use crate::store::{NodeArgs, NotOpened, OpenStore};

/// Where runs are kept.
pub(super) enum Origin {
    /// In a file.
    File(PathBuf),
    /// In a database, as one node of several.
    Node(NodeArgs),
}

impl Origin {
    /// Opens the store.
    pub(super) async fn open(
        self,
        signals: &mut Signals,
        log: &Log,
    ) -> Result<OpenStore, NotOpened> {
        match self {
            Self::File(path) => Ok(OpenStore::open(&path)?),
            Self::Node(node) => {
                let words = node.words();
                let opened = OpenStore::join(node, signals).await?;
                log.say(&words);
                Ok(opened)
            }
        }
    }
}
