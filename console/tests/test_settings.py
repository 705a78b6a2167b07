"""Where people reach the console: what links are made of."""

import pytest

from pydantic import ValidationError

from console.settings import ConsoleSettings
from console.tests.fakes import FakeStore
from console.tests.test_app import console


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, "http://127.0.0.1:8085"),
        ({"CONSOLE_PORT": "9"}, "http://127.0.0.1:9"),
        ({"CONSOLE_PUBLISHED_PORT": "18085"}, "http://127.0.0.1:18085"),
        ({"APP_CONSOLE_URL": "https://logs.example.org/"}, "https://logs.example.org"),
        (
            {"APP_CONSOLE_URL": "https://logs.example.org/console", "CONSOLE_PORT": "9"},
            "https://logs.example.org/console",
        ),
    ],
)
def test_links_lead_to_the_port_here_or_to_where_the_setting_says(
    given: dict[str, str], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert ConsoleSettings().for_people == address


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "logs.example.org",
        "https://",
        'https://a"b',
        "https://a b",
        "https://a/?q=1",
        "https://a/#b",
    ],
)
def test_what_is_no_address_is_refused_at_the_start(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_CONSOLE_URL", url)
    with pytest.raises(ValidationError, match="APP_CONSOLE_URL"):
        ConsoleSettings()


async def test_the_address_is_told_to_alerts_and_dashboards() -> None:
    async with console(FakeStore(), published_port=18085) as client:
        metrics = (await client.get("/metrics")).text
    assert 'console_url_info{url="http://127.0.0.1:18085"} 1.0' in metrics
