//! What a log tells of pauses (T5, T6, I24).

use super::trace::Seen;

impl Seen {
    /// The run is paused.
    pub(super) fn pause(&mut self, is_root: bool) -> Result<(), &'static str> {
        if !is_root || self.live_children > 0 {
            return Err("a run is paused that is no root, or has live children (I24)");
        }
        if self.stopping.is_some() || self.paused || !(self.started || self.has_past) {
            return Err("a run is paused that does not run (T5)");
        }
        self.paused = true;
        Ok(())
    }

    /// It is queued again: its next attempt starts anew.
    pub(super) fn resume(&mut self) -> Result<(), &'static str> {
        if !self.paused {
            return Err("a run is resumed that is not paused (T6)");
        }
        (self.paused, self.started) = (false, false);
        Ok(())
    }
}
