"""The consumer's HTTP face, without the work behind it."""

import httpx
import pytest

from consumer.app import create_app
from consumer.settings import ConsumerSettings


@pytest.mark.parametrize("path", ["/health", "/metrics"])
async def test_what_is_asked_with_get_may_be_asked_with_head(path: str) -> None:
    app = create_app(ConsumerSettings(region="region-a", regions=("region-a", "region-b"), instance="one"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://consumer") as client:
        answer = await client.head(path)

    assert (answer.status_code, answer.content) == (200, b"")
