//! [`Engine::time`], and [`Engine::not_before`]: times that another process, or another node, has
//! told.

use std::time::SystemTime;

use crate::engine::Engine;

impl Engine {
    /// Yields the time that something has which happens now: that of the wall clock, as the engine
    /// follows it.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use quell::{Engine, RunSpec};
    ///
    /// let engine = Engine::new();
    /// let before = engine.time();
    /// let run = engine.submit(RunSpec::agent("a"), async |_ctx| Ok(())).unwrap().into_ref();
    /// assert!((before..=engine.time()).contains(&run.row().queued_at));
    /// # });
    /// ```
    pub fn time(&self) -> SystemTime {
        let clock = &self.shared().clock;
        clock.wall(clock.now())
    }

    /// Has nothing that happens from here on have a time before this one, which another process, or
    /// another node, has told: the clock of this one is behind. Times go on from there, ahead of
    /// the clock, until it has come further, or this process ends. Timeouts and due times do not
    /// change.
    ///
    /// It is for what is in the order of its times, as whatever goes on with what an earlier run
    /// has left and may not count as having ended before it.
    ///
    /// Tells whether that is so. It is not if the time is more than a day ahead, since that clock
    /// was wrong: then nothing has changed.
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    /// # .block_on(async {
    /// use std::time::{Duration, SystemTime};
    /// use quell::{Engine, RunSpec};
    ///
    /// let (engine, told) = (Engine::new(), SystemTime::now() + Duration::from_secs(5));
    /// assert!(engine.not_before(told));
    /// let run = engine.submit(RunSpec::agent("a"), async |_ctx| Ok(())).unwrap().into_ref();
    /// run.ended().await;
    /// assert!(run.row().ended_at >= Some(told));
    /// # });
    /// ```
    pub fn not_before(&self, time: SystemTime) -> bool {
        self.shared().clock.raise(time)
    }
}
