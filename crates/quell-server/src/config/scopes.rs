//! [`fault_of`]: what is wrong with a scope of a key, or of the tokens that name none, and
//! [`warning_of`]: which component is not there that it is for.

use quell_flow::{Catalog, ComponentKind, guess};
use quell_http::ADMIN_SCOPES;

use crate::quoted::quoted;

/// Says what is wrong with a scope; none if the server asks for scopes like it. The id in it may be
/// of a component that is not there yet, and like any word.
pub(super) fn fault_of(scope: &str) -> Option<String> {
    if ADMIN_SCOPES.contains(&scope) {
        return None;
    }
    let unknown = |meant: Option<String>| {
        let guess = |it: String| format!("did you mean `{}`?", quoted(&it));
        let right = meant.map_or_else(|| RIGHT.to_owned(), guess);
        Some(format!("unknown scope `{}`; {right}", quoted(scope)))
    };
    let (Some((resource, rest)), Some((before, action))) =
        (scope.split_once(':'), scope.rsplit_once(':'))
    else {
        return unknown(None);
    };
    let is_right = |word: &str, known: &[&str]| word == "*" || known.contains(&word);
    let actions = actions_of(resource);
    match (is_right(resource, &RESOURCES), is_right(action, actions)) {
        (true, true) => None,
        (false, true) => {
            let meant = of_component(before, action);
            let near = guess(resource, RESOURCES);
            let near = near.filter(|it| is_right(action, actions_of(it)));
            let near = || near.map(|it| format!("{it}:{rest}"));
            unknown(meant.or_else(near))
        }
        (true, false) => {
            let near = guess(action, actions.iter().copied());
            unknown(near.map(|it| format!("{before}:{it}")))
        }
        (false, false) => unknown(admin(scope)),
    }
}

/// Finds the scope for everything that is meant. One letter may differ, and the case: a word that
/// is further from it may have another meaning, and the advice would give all rights away.
fn admin(scope: &str) -> Option<String> {
    let scope = scope.to_lowercase();
    let is_near = |admin: &&str| {
        scope.len().abs_diff(admin.len()) <= 1 && strsim::osa_distance(&scope, admin) <= 1
    };
    ADMIN_SCOPES.into_iter().find(is_near).map(ToOwned::to_owned)
}

/// Spells the scope for a component that is written by its name: `agent/writer` and `run` are
/// `agents:writer:run`.
fn of_component(name: &str, action: &str) -> Option<String> {
    let (kind, id) = ComponentKind::split(name)?;
    Some(format!("{kind}s:{id}:{action}"))
}

/// Says that the component of a scope is not there; none if it is, or if the scope is for no one
/// component.
pub(super) fn warning_of(scope: &str, catalog: &Catalog) -> Option<String> {
    let (resource, rest) = scope.split_once(':')?;
    let (id, action) = rest.rsplit_once(':').filter(|(id, _)| *id != "*")?;
    let is_kind = |kind: &ComponentKind| resource.strip_suffix('s') == Some(kind.as_str());
    let kind = ComponentKind::ALL.into_iter().find(is_kind)?;
    if catalog.get(kind, id).is_some() {
        return None;
    }
    let known = catalog.components().filter(|one| one.kind() == kind).map(|one| one.id());
    // A scope has the kind before the id; the name of a component has it in front as well.
    let bare = ComponentKind::split(id).map_or(id, |(_, id)| id);
    let right = match guess(bare, known) {
        Some(meant) => {
            format!("; did you mean `{}`?", quoted(&format!("{resource}:{meant}:{action}")))
        }
        None => String::new(),
    };
    let (scope, id) = (quoted(scope), quoted(id));
    Some(format!("scope `{scope}` is for the {kind} `{id}`, which is not there{right}"))
}

/// Yields what scopes for something allow.
fn actions_of(resource: &str) -> &'static [&'static str] {
    match resource {
        "sessions" | "memories" | "knowledge" | "evals" => &["read", "write", "delete"],
        "metrics" => &["read", "write"],
        "traces" => &["read"],
        "agents" | "teams" | "workflows" | "config" | "system" => &["read", "run"],
        // Of any, and of what may be misspelt.
        _ => &["read", "run", "write", "delete"],
    }
}

/// What scopes are for: components by their kind, and what `AgentOS` has besides.
const RESOURCES: [&str; 11] = [
    "agents",
    "teams",
    "workflows",
    "sessions",
    "config",
    "system",
    "memories",
    "knowledge",
    "evals",
    "metrics",
    "traces",
];

const RIGHT: &str = "expected `RESOURCE:ACTION` or `RESOURCE:ID:ACTION` with `agents`, `teams`, \
                     `workflows`, `config`, `system` or `*`, and `read`, `run` or `*`; or with \
                     `sessions`, `memories`, `knowledge` or `evals`, and `read`, `write`, `delete` \
                     or `*`; `metrics:read`, `metrics:write`, `traces:read`; or `quell:admin`";

#[cfg(test)]
mod tests {
    use quell::Payload;
    use quell_flow::Component;

    use super::*;

    #[test]
    fn the_name_of_a_component_within_a_scope_is_told_the_right_spelling() {
        let writer = Component::agent("writer", async |_ctx, input: Payload| Ok(input));
        let catalog = Catalog::new().with(writer);
        assert_eq!(warning_of("agents:writer:run", &catalog), None);
        for scope in ["agents:agent/writer:run", "agents:agent/writr:run", "agents:writr:run"] {
            let warning = warning_of(scope, &catalog).expect(scope);
            assert!(warning.ends_with("; did you mean `agents:writer:run`?"), "{warning}");
        }
        let warning = warning_of("agents:agent/other:run", &catalog).expect("it is not there");
        assert!(warning.ends_with("which is not there"), "{warning}");
    }

    #[test]
    fn a_scope_for_everything_is_proposed_in_the_place_of_one_that_is_nearly_equal_only() {
        for scope in [
            "agents:admin",
            "agent:admin",
            "agents_admin:run",
            "agents:a:rnu",
            "agent:a:run",
            "agents:a:admin",
            "agent:adam:rum",
            "quill:admins",
            "all:admin",
            "shell:admin",
        ] {
            let fault = fault_of(scope).expect(scope);
            let guessed = fault.split("did you mean").nth(1).unwrap_or_default();
            assert!(!guessed.contains("admin`"), "{scope}: {fault}");
        }
    }

    #[test]
    fn a_scope_that_nothing_asks_for_is_refused_with_what_was_meant() {
        for scope in [
            "agents:read",
            "agents:writer:run",
            "workflows:a:b:run",
            "teams:*:run",
            "*:read",
            "agents:*",
            "config:read",
            "system:read",
            "sessions:read",
            "sessions:write",
            "sessions:delete",
            "sessions:*",
            "*:delete",
            "agent_os:admin",
            "quell:admin",
            "agents:a:run",
            "agents:admin:run",
            "agents:adam:*",
            "agents:os:run",
            "agents:admin:read",
            "*:admin:*",
        ] {
            assert_eq!(fault_of(scope), None, "{scope}");
        }
        for (scope, meant) in [
            ("agent:run", "agents:run"),
            ("agents:writer:rnu", "agents:writer:run"),
            ("session:write", "sessions:write"),
            ("sessions:deltee", "sessions:delete"),
            ("workflow:a:b:read", "workflows:a:b:read"),
            ("quell:admni", "quell:admin"),
            ("agentos:admin", "agent_os:admin"),
            ("AgentOS:Admin", "agent_os:admin"),
            ("agent/writer:run", "agents:writer:run"),
            ("workflow/a:b:read", "workflows:a:b:read"),
        ] {
            let fault = fault_of(scope).expect(scope);
            assert!(fault.ends_with(&format!("did you mean `{meant}`?")), "{fault}");
        }
        for scope in ["", "agents", "run", "sessions:run", "agents:write", "a:b", ":", "agents:"] {
            let fault = fault_of(scope).expect(scope);
            assert!(fault.ends_with(RIGHT), "{fault}");
        }
    }
}
