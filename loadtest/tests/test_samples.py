"""The gateway's figures of replication are shown beside the measured ones. Without them the run continues."""

import httpx
import pytest

from chaos.fleet import Addresses
from chaos.observe import Observer
from chaos.writers import Seen
from loadtest.samples import Lag, Mirrors, Sample, Sampler

SAID = {
    "regions": [],
    "links": [
        {"source": "region-a", "target": "region-b", "up": True, "lagSeconds": 1.2, "lagRecords": 7},
        {"source": "region-b", "target": "region-a", "up": False, "lagSeconds": 31.5, "lagRecords": None},
    ],
}


async def sample_of(answer: httpx.Response | None) -> Sample:
    def handle(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/api/replication"
        if answer is None:
            raise httpx.ConnectError("connection refused", request=request)
        return answer

    async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
        at = Addresses()
        return await Sampler(http, "http://gateway", Observer(at, http), Mirrors(at, {}), Seen()).take("steady")


async def test_what_the_gateway_says_is_taken_over_by_link() -> None:
    sample = await sample_of(httpx.Response(200, json=SAID))

    assert sample.reported == {"a-to-b": Lag(7, 1.2), "b-to-a": Lag(None, 31.5)}
    assert sample.lag == {"a-to-b": Lag(None, None), "b-to-a": Lag(None, None)}


@pytest.mark.parametrize("answer", [None, httpx.Response(404), httpx.Response(503)])
async def test_a_gateway_that_says_nothing_leaves_it_unknown(answer: httpx.Response | None) -> None:
    assert (await sample_of(answer)).reported == {}
