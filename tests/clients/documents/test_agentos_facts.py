"""What upstream describes of the operations that we serve, and what our own document has of it.

A client that is made from upstream's document finds every parameter, every field, every key and
every success here, but for the gaps that are listed.
"""

import pytest

from demo import HTTP, URL
from documents import Ours, facts_of

FACTS = facts_of("agentos")
OURS = Ours(HTTP.get(f"{URL}/openapi/agentos.json").json())

# Of a component of Python: its prompts, tools and reasoning, how it was made, and where it is kept.
COMPONENT = set(
    """current_version default_tools factory_input_schema input_schema introduction is_component
    is_factory knowledge memory metadata reasoning response_settings role sandboxed sessions stage
    streaming system_message tools""".split()
)
AGENT = COMPONENT | {"extra_messages", "filesystem"}
FLOW = set("current_version factory_input_schema is_component is_factory sandboxed stage".split())
# No answer is made again: a run goes on behind the end of another one.
AGAIN = {"additional_instructions", "regenerate", "replace_original"}
# Nothing is known of a session but its runs.
SESSION = {"agent_data", "metadata", "session_summary", "total_tokens"}

# What they have and we do not, and why.
GAPS = {
    "GET /agents": AGENT,
    "GET /agents/{agent_id}": AGENT,
    "GET /teams": COMPONENT,
    "GET /teams/{team_id}": COMPONENT,
    "GET /workflows": FLOW,
    "GET /workflows/{workflow_id}": FLOW
    | {"query version", "agent", "team", "input_schema", "metadata", "workflow_agent"},
    # Fields that are keywords of the run here, as any that has no name.
    "POST /agents/{agent_id}/runs": {"factory_input", "files_metadata"},
    "POST /teams/{team_id}/runs": {"factory_input", "files_metadata", "monitor"},
    "POST /workflows/{workflow_id}/runs": {"factory_input"},
    "GET /workflows/{workflow_id}/runs": {"query factory_input"},
    "GET /workflows/{workflow_id}/runs/{run_id}": {"query factory_input"},
    "POST /agents/{agent_id}/runs/{run_id}/continue": AGAIN,
    "POST /teams/{team_id}/runs/{run_id}/continue": AGAIN,
    "POST /workflows/{workflow_id}/runs/{run_id}/continue": {"factory_input"},
    "GET /sessions/{session_id}": SESSION,
    "POST /sessions/{session_id}/rename": SESSION,
    "DELETE /sessions": {"query delete_media"},
    "DELETE /sessions/{session_id}": {"query delete_media"},
    # Nothing is counted by day.
    "POST /metrics/refresh": set(
        """202 agent_runs_count agent_sessions_count created_at date id model_metrics
        team_runs_count team_sessions_count token_metrics updated_at users_count
        workflow_runs_count workflow_sessions_count""".split()
    )
    | {"query background", "query db_id", "query table", "query user_id"},
    "GET /metrics/refresh/status": {"query db_id", "query table"},
}

# Fields that we need and they do not: a run never goes on with an answer that nobody gave.
NEEDED = {
    "POST /workflows/{workflow_id}/runs/{run_id}/continue": {"step_requirements"},
}


@pytest.mark.parametrize("name", FACTS)
def test_what_upstream_describes_is_described_here(name):
    facts = FACTS[name]
    statuses = {status for status in facts["statuses"].split() if status < "300"}
    lacks, needed = OURS.lacks(name, facts, statuses)
    assert lacks == GAPS.get(name, set())
    assert needed == NEEDED.get(name, set())
