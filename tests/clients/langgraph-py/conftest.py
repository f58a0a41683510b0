import pytest
from langgraph_sdk import get_client

from demo import KEY, URL


@pytest.fixture
async def client():
    made = get_client(url=URL, api_key=KEY or "none")
    yield made
    await made.http.client.aclose()
