use std::future::pending;
use std::time::Duration;

use quell::{CancelRequest, RunReport, RunSpec, Work};
use quell_test_support::{soon, within};

use crate::support::{Gate, Lab, Witness, body_runtime, config, listener, ms, naive, secs};

/// What can be dropped has gone by then, also on a busy machine.
const BUSY: Duration = secs(2);

fn errors(report: &RunReport) -> Vec<&str> {
    report.own_row().cleanup_errors.iter().map(|error| &**error).collect()
}

/// What was abandoned: its sort, its name, and where it comes from.
fn left(report: &RunReport) -> Vec<(Work, &str, Option<&str>)> {
    let left = report.abandoned.iter();
    left.map(|left| (left.what, &*left.name, left.site.as_deref())).collect()
}

#[tokio::test(start_paused = true)]
async fn i16_errors_of_cleanup_name_their_hook() {
    let lab = Lab::paused();
    let run = lab
        .submit(RunSpec::agent("hooked").grace(secs(1)), async |ctx| {
            ctx.on_stop_named("close the session", async |_| pending().await);
            ctx.on_end_named("delete \u{1b}[2J files", async |_| panic!("no idea"));
            ctx.on_stop(async |_| panic!("no idea"));
            let bomb = Bomb;
            ctx.on_end_named("bomb", async move |_| drop(bomb));
            naive(ctx).await
        })
        .unwrap();
    tokio::task::yield_now().await;
    run.cancel(CancelRequest::because("enough"));
    let report = run.ended().await;
    let expected = [
        "end hook 3 \"bomb\": panicked: in a destructor",
        "stop hook 2: panicked: no idea",
        "end hook 1 \"delete \\u{1b}[2J files\": panicked: no idea",
        "stop hook 0 \"close the session\" was aborted: its time was over",
    ];
    assert_eq!(errors(&report), expected);
    lab.finish().await;
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "in a destructor");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_what_is_abandoned_bears_its_own_name_and_its_site_where_asked_for() {
    for noted in [false, true] {
        let config = config().grace(ms(30)).abort_wait(BUSY).spawn_sites(noted);
        let lab = Lab::with(config);
        let (gate, up) = (Gate::new(), Witness::new());
        let _open = gate.at_end();
        let (held, inside) = (gate.clone(), up.clone());
        let first = line!();
        let body = async move |ctx: quell::RunContext| {
            let (gate, enter) = (held.clone(), inside.clone());
            let crunch = ctx.spawn_blocking_named("crunch", move |_| {
                let _inside = enter.enter();
                gate.spin();
            });
            let (gate, enter) = (held, inside);
            let plain = ctx.spawn_blocking(move |_| {
                let _inside = enter.enter();
                gate.spin();
            });
            let _hold = ctx.hold(Work::Process, "outside")?;
            tokio::join!(crunch, plain).0?;
            Ok(())
        };
        let last = line!();
        let run = lab.submit(RunSpec::agent("blocked"), body).unwrap();
        soon("both are up", || up.inside() == 2).await;
        run.cancel(CancelRequest::because("enough"));
        let report = within("terminal in time", run.ended()).await;
        let mut all = left(&report);
        all.sort_by_key(|(_, name, _)| *name);
        let names: Vec<_> = all.iter().map(|(what, name, _)| (*what, *name)).collect();
        assert_eq!(names, [(Work::Blocking, "blocked"), (Work::Blocking, "crunch")]);
        for (_, name, site) in all {
            let Some(site) = site else {
                assert!(!noted, "{name} has no site");
                continue;
            };
            assert!(noted, "nobody asked for {site}");
            let (file, place) = site.split_once(".rs:").expect("a file and a place");
            assert!(file.ends_with("named"), "{site}");
            let line: u32 = place.split_once(':').unwrap().0.parse().unwrap();
            assert!((first..last).contains(&line), "{site}");
        }
        gate.open();
        lab.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_an_abandoned_hook_is_named_and_lends_its_name_to_no_other() {
    // Which hook blocks; by what name the report lists it.
    for (blocks, name) in [(0, "hooked hook"), (1, "close"), (2, "hooked hook")] {
        let lab = Lab::with(config().grace(ms(30)).abort_wait(BUSY).spawn_sites(true));
        let (gate, up) = (Gate::new(), Gate::new());
        let _open = gate.at_end();
        let (held, ready) = (gate.clone(), up.clone());
        let run = lab
            .submit(RunSpec::agent("hooked"), async move |ctx| {
                let [first, close, last] = [0, 1, 2].map(|number| {
                    let held = (number == blocks).then(|| held.clone());
                    move || held.iter().for_each(Gate::spin)
                });
                ctx.on_stop(async move |_| first());
                ctx.on_end_named("close", async move |_| close());
                ctx.on_stop(async move |_| last());
                ready.open();
                listener(ctx).await
            })
            .unwrap();
        soon("it is up", || up.is_open()).await;
        run.cancel(CancelRequest::because("enough"));
        let report = within("terminal in time", run.ended()).await;
        let [(what, found, Some(site))] = left(&report)[..] else { panic!("{report:#?}") };
        assert_eq!((what, found), (Work::Hook, name));
        assert!(site.contains("named.rs:"), "{site}");
        gate.open();
        lab.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn i16_with_sites_an_error_of_cleanup_says_where_its_hook_comes_from() {
    let lab = Lab::with(config().control_on_runtime().spawn_sites(true));
    let run = lab
        .submit(RunSpec::agent("hooked"), async |ctx| {
            ctx.on_end_named("close", async |_| panic!("no idea"));
            Ok(())
        })
        .unwrap();
    let line = line!() - 4;
    let report = run.ended().await;
    let [error] = errors(&report)[..] else { panic!("{report:#?}") };
    let (before, place) = error.split_once(" at ").unwrap();
    assert_eq!(before, "end hook 0 \"close\"");
    assert!(place.contains(&format!("named.rs:{line}:")), "{error}");
    assert!(place.ends_with(": panicked: no idea"), "{error}");
    lab.finish().await;
}

/// Blocks when it is dropped.
struct Blocks(Gate);

impl Drop for Blocks {
    fn drop(&mut self) {
        self.0.spin();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i4_a_hook_that_blocks_when_it_is_dropped_unrun_is_abandoned_by_its_own_name() {
    // Whether it has a name; by what name the report lists it.
    for (is_named, name) in [(true, "blocks"), (false, "hooked hook")] {
        let bodies = body_runtime(1);
        let config = config().runtime(bodies.handle().clone()).grace(ms(30)).abort_wait(BUSY);
        let (lab, gate, up) = (Lab::with(config), Gate::new(), Gate::new());
        let _open = gate.at_end();
        let (held, ready) = (gate.clone(), up.clone());
        let run = lab
            .submit(RunSpec::agent("hooked"), async move |ctx| {
                let blocks = Blocks(held);
                let unused = async move |_| drop(blocks);
                if is_named {
                    ctx.on_end_named(name, unused);
                } else {
                    ctx.on_end(unused);
                }
                ctx.on_stop_named("waits", async |_| pending().await);
                ready.open();
                listener(ctx).await
            })
            .unwrap();
        soon("it is up", || up.is_open()).await;
        run.cancel(CancelRequest::because("enough"));
        let report = within("terminal in time", run.ended()).await;
        assert_eq!(left(&report), [(Work::Hook, name, None)]);
        gate.open();
        lab.finish().await;
        bodies.shutdown_background();
    }
}
