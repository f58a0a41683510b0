//! [`Demo`]: the components of `quell-demo`, and the data that `Playbook3D` needs to offer them.

use quell_demo::{Witness, playbook3d};
use quell_playbook3d::{Options, Team, Workflow};

/// What `quell serve --demo` serves.
pub(super) struct Demo {
    /// What the bodies of the components record.
    pub(super) witness: Witness,
    /// What stands before the names of all components.
    pub(super) prefix: String,
}

impl Demo {
    /// Puts the demo's teams, workflows and credits in where the configuration says nothing.
    pub(super) fn playbook3d(&self, mut options: Options) -> Options {
        if options.teams.is_empty() {
            options.teams = playbook3d::TEAMS.map(|(id, name)| Team::new(id, name)).into();
        }
        if options.workflows.is_empty() {
            options.workflows = playbook3d::workflows(&self.prefix).map(offered).into();
        }
        options.without_credits.insert(playbook3d::WITHOUT_CREDITS.to_owned());
        options
    }
}

fn offered(workflow: playbook3d::Workflow) -> Workflow {
    let playbook3d::Workflow { id, name, component, teams } = workflow;
    Workflow::new(id, name, component).for_teams(teams)
}
