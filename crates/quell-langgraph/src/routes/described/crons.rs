//! The part of the table that is about crons, and their schemas.

use quell_http::described::schema::{list, named, number, part, whole};
use quell_http::described::{delete, get, patch, post};
use serde_json::{Map, Value, json};

use crate::routes::crons::{self, ORDERS, ROW};
use crate::routes::described::bodies::{id, maybe, needs, one_of, page, some_of, with};
use crate::routes::described::dialect::{Operation, Routes};
use crate::routes::path::{Scope, Stateless, ThreadPath};

/// Adds the crons.
pub(super) fn about_crons(routes: Routes) -> Routes {
    let row = |operation: Operation| operation.asks().answers(200, named("Cron"));
    let delete = delete(crons::delete, "Deletes a cron").asks().answers_empty(204);
    routes
        .at("/threads/{thread}/runs/crons", [makes::<ThreadPath>()])
        .at("/runs/crons", [makes::<Stateless>()])
        .at(
            "/runs/crons/search",
            [post(crons::search, "Searches crons")
                .reads()
                .asks()
                .takes("CronSearch")
                .answers(200, list("CronPart"))
                .with_headers(200, ["x-pagination-total", "x-pagination-next"])],
        )
        .at(
            "/runs/crons/count",
            [post(crons::count, "Counts crons")
                .reads()
                .asks()
                .takes("CronCount")
                .answers(200, number())],
        )
        .at(
            "/runs/crons/{cron}",
            [
                row(get(crons::read, "Shows a cron")).refuses([404, 422]),
                row(patch(crons::change, "Changes a cron"))
                    .takes("CronPatch")
                    .refuses([400, 404, 409]),
                delete.refuses([404, 409, 422]),
            ],
        )
}

fn makes<S: Scope>() -> Operation {
    Operation::new("post", crons::create::<S>(), "Makes a cron")
        .asks()
        .takes("CronCreate")
        .answers(200, named("Cron"))
        .refuses([400, 404, 409])
}

/// Makes the schemas of crons, by their names.
pub(super) fn schemas() -> Map<String, Value> {
    let given = || {
        json!({
            "timezone": maybe("string"),
            "end_time": maybe("string"),
            "enabled": maybe("boolean"),
            "on_run_completed": one_of(["delete", "keep"]),
            "metadata": maybe("object"),
        })
    };
    let made = needs(["schedule"], with(given(), json!({ "schedule": { "type": "string" } })));
    let mut changed = needs([], with(given(), json!({ "schedule": maybe("string") })));
    changed["minProperties"] = 1.into();
    let meant = json!({
        "assistant_id": id(),
        "thread_id": id(),
        "enabled": maybe("boolean"),
        "metadata": maybe("object"),
    });
    let listed = json!({
        "sort_by": one_of(ORDERS),
        "sort_order": one_of(["asc", "desc"]),
        "select": some_of(&ROW),
    });
    let searched = with(with(meant.clone(), page()), listed);
    let all = [
        ("Cron", whole(row())),
        ("CronPart", part(row())),
        ("CronCreate", json!({ "allOf": [named("RunCreate"), made] })),
        ("CronPatch", changed),
        ("CronSearch", needs([], searched)),
        ("CronCount", needs([], meant)),
    ];
    all.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn row() -> Value {
    let (uuid, time) = (
        || json!({ "type": "string", "format": "uuid" }),
        || json!({ "type": ["string", "null"], "format": "date-time" }),
    );
    json!({
        "cron_id": uuid(),
        "assistant_id": uuid(),
        "thread_id": id(),
        "user_id": { "type": "string" },
        "on_run_completed": { "enum": ["delete", "keep", null] },
        "end_time": maybe("string"),
        "schedule": { "type": "string" },
        "timezone": maybe("string"),
        "created_at": time(),
        "updated_at": time(),
        "payload": { "type": "object" },
        "next_run_date": time(),
        "metadata": { "type": "object" },
        "enabled": { "type": "boolean" },
    })
}
