//! [`Keys`]: what is typed while a command draws, key by key.

use std::io::{self, IsTerminal as _, Read as _};
use std::thread;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::oneshot;

/// The terminal at stdin, which hands over each key at once and shows none. Dropped, it is as it
/// was.
pub(super) struct Keys {
    before: Termios,
}

impl Keys {
    /// Begins; none if stdin is no terminal. The end of the wait is that `q` was typed.
    pub(super) fn begin() -> (Option<Self>, impl Future<Output = ()>) {
        let (tell, typed) = oneshot::channel();
        let keys = Self::of_terminal();
        if keys.is_some() {
            // It reads until the process ends: nothing wakes a read.
            let reads = thread::Builder::new().name("quell-keys".into());
            // Without the thread Ctrl-C ends the command.
            let _ = reads.spawn(move || {
                let quits = |byte: io::Result<u8>| matches!(byte, Ok(b'q' | b'Q'));
                if io::stdin().lock().bytes().any(quits) {
                    let _ = tell.send(());
                }
            });
        }
        let quit = async {
            if typed.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        (keys, quit)
    }

    fn of_terminal() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut now = before.clone();
        now.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &now).ok()?;
        Some(Self { before })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
