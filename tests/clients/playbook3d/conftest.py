"""A member of team Alpha, by each of the two SDKs."""

import pytest

from demo import ALICE, Probe
from sdks import Python, Unity


@pytest.fixture
def python():
    return Python(ALICE)


@pytest.fixture
def unity():
    return Unity(ALICE)


@pytest.fixture
def probe():
    return Probe()
