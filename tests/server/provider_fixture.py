"""The test server as a pytest fixture; tests/conftest.py imports it for every test."""

from collections.abc import Iterator

import fixture
import pytest


@pytest.fixture(scope="session")
def provider_session() -> Iterator[fixture.Server]:
    """One server for all tests, started by the first that asks."""
    pytest.importorskip("aiohttp")
    with fixture.start() as server:
        yield server


@pytest.fixture
def provider(provider_session: fixture.Server) -> fixture.Server:
    """The server, reset before each test."""
    provider_session.reset()
    return provider_session
