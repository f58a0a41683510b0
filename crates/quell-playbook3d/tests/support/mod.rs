//! What the tests have in common.

pub(crate) mod lab;

use quell_demo::{Witness, agentos, playbook3d};
use quell_flow::Catalog;
use quell_http::Service;
use quell_playbook3d::{Options, Team, Workflow, document};
use quell_test_support::documented;

/// The workflows of the demo data.
pub(crate) fn catalog(witness: &Witness) -> Catalog {
    playbook3d::components(agentos::components(Catalog::new(), witness, ""), witness, "")
}

/// Makes the router, and fails the test in which it answers what its document does not have.
pub(crate) fn router(service: Service, options: Options) -> axum::Router {
    // It has the prefixes of the options, and is there until all tests have ended.
    let document = Box::leak(Box::new(document(&options)));
    documented(quell_playbook3d::router(service, options), document, |path| path)
}

/// Puts the teams, workflows and credits of the demo in.
pub(crate) fn with_demo(mut options: Options) -> Options {
    let offered = |each: playbook3d::Workflow| {
        Workflow::new(each.id, each.name, each.component).for_teams(each.teams)
    };
    options.teams = playbook3d::TEAMS.map(|(id, name)| Team::new(id, name)).into();
    options.workflows = playbook3d::workflows("").map(offered).into();
    options.without_credits.insert(playbook3d::WITHOUT_CREDITS.to_owned());
    options
}
