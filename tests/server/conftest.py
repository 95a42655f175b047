"""The SDKs' clients, pointed at the server."""

from collections.abc import Iterator
from typing import Any

import fixture
import pytest


@pytest.fixture(scope="session")
def _clients(provider_session: fixture.Server) -> Iterator[tuple[Any, Any]]:
    openai, anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")
    gpt = openai.OpenAI(base_url=provider_session.openai_url, api_key="sk-test", max_retries=0, timeout=5)
    claude = anthropic.Anthropic(base_url=provider_session.url, api_key="sk-test", max_retries=0, timeout=5)
    with gpt, claude:
        yield gpt, claude


@pytest.fixture
def gpt(_clients: tuple[Any, Any], provider: fixture.Server) -> Any:
    """OpenAI's client."""
    return _clients[0]


@pytest.fixture
def claude(_clients: tuple[Any, Any], provider: fixture.Server) -> Any:
    """Anthropic's client."""
    return _clients[1]
