//! The demo data of `Playbook3D` (`quell_playbook3d::contract`, section 7): teams, keys, workflows,
//! and the one component that is this contract's own.

use std::time::Duration;

use quell::{Payload, RunContext};
use quell_flow::{Catalog, Component};
use quell_http::{Access, Key, NATIVE};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::{Uuid, uuid};

use crate::contracts::PLAYBOOK3D;
use crate::{Record, Witness};

/// Yields the access control of the demo: alice and eve are members of Alpha, bob of Beta.
pub fn access() -> Access {
    let key = |name: &str, key: Uuid, team: Uuid| {
        Key::new(name, key.to_string()).in_teams([team.to_string()])
    };
    Access::open()
        .key(key("alice", ALICE, ALPHA))
        .key(key("bob", BOB, BETA))
        .key(key("eve", EVE, ALPHA))
}

/// A workflow of the demo, as `Playbook3D` offers it.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// The id by which it is run.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// The id of its component.
    pub component: String,
    /// The teams to which it is offered.
    pub teams: Vec<Uuid>,
}

/// The teams, each with its name.
pub const TEAMS: [(Uuid, &str); 2] = [(ALPHA, "Alpha"), (BETA, "Beta")];

/// The name of the key that has no credits.
pub const WITHOUT_CREDITS: &str = "eve";

/// Yields the workflows. Their names and components get the prefix.
pub fn workflows(prefix: &str) -> [Workflow; 4] {
    let workflow = |id, name, component, teams: &[Uuid]| Workflow {
        id,
        name: format!("{prefix}{name}"),
        component: format!("{prefix}{component}"),
        teams: teams.to_vec(),
    };
    [
        workflow(SLOW, "slow", "slow-workflow", &[ALPHA, BETA]),
        workflow(SHORT, "short", "short-workflow", &[ALPHA, BETA]),
        workflow(STUBBORN, "stubborn", STUBBORN_ID, &[ALPHA, BETA]),
        workflow(EVERYWHERE, "everywhere", "everywhere", &[ALPHA]),
    ]
}

/// Adds the workflow that listens for the stop and ignores it until its time is over.
pub fn components(catalog: Catalog, witness: &Witness, prefix: &str) -> Catalog {
    let witness = witness.clone();
    let body = move |ctx, inputs| tick_on(ctx, inputs, witness.clone());
    let stubborn = Component::workflow(format!("{prefix}{STUBBORN_ID}"), body);
    catalog.with(stubborn.exposed_in([NATIVE, PLAYBOOK3D]))
}

async fn tick_on(
    ctx: RunContext,
    inputs: Payload,
    witness: Witness,
) -> Result<Payload, quell::Failure> {
    let inputs: Value = inputs.parse().unwrap_or_default();
    let probe = inputs["tag"].as_str().unwrap_or_default().to_owned();
    let until = Instant::now() + Duration::from_millis(inputs["ms"].as_u64().unwrap_or(1000));
    let record = Record::start(&witness, Some(probe), "stubborn");
    let mut has_seen = false;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|t| !t.is_zero()) {
        sleep(left.min(Duration::from_millis(50))).await;
        record.tick();
        if ctx.is_stopping() && !has_seen {
            has_seen = true;
            record.see_stop();
        }
    }
    record.finish();
    Ok(json!({ "log": ["stubborn:done"] }).into())
}

/// Team A.
pub const ALPHA: Uuid = uuid!("aaaaaaaa-0000-4000-8000-000000000001");
/// Team B.
pub const BETA: Uuid = uuid!("bbbbbbbb-0000-4000-8000-000000000002");
/// The key of `alice`, member of A.
pub const ALICE: Uuid = uuid!("11111111-1111-4111-8111-111111111111");
/// The key of `bob`, member of B.
pub const BOB: Uuid = uuid!("22222222-2222-4222-8222-222222222222");
/// The key of `eve`, member of A, without credits.
pub const EVE: Uuid = uuid!("33333333-3333-4333-8333-333333333333");
/// The slow workflow.
pub const SLOW: Uuid = uuid!("cccccccc-0000-4000-8000-000000000001");
/// The short one.
pub const SHORT: Uuid = uuid!("cccccccc-0000-4000-8000-000000000002");
/// The stubborn one.
pub const STUBBORN: Uuid = uuid!("cccccccc-0000-4000-8000-000000000003");
/// The one of every contract.
pub const EVERYWHERE: Uuid = uuid!("cccccccc-0000-4000-8000-000000000004");

/// Not `stubborn`, which is a graph of `LangGraph` with another result.
const STUBBORN_ID: &str = "playbook3d-stubborn";
