"""`python -m consumer.schema`: what it makes of its settings. What it makes of a database is in integration-tests."""

from unittest.mock import AsyncMock

import pytest

from consumer import schema


@pytest.mark.parametrize(("written", "meant"), [("logs", "logs"), ("p%40ss%2Fw%25rd", "p@ss/w%rd")])
async def test_the_reader_gets_the_password_and_not_how_a_url_writes_it(
    written: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = AsyncMock()
    monkeypatch.setattr("asyncpg.connect", AsyncMock())
    monkeypatch.setattr(schema, "ensure_schema", AsyncMock())
    monkeypatch.setattr(schema, "ensure_reader", reader)

    await schema._run(schema.SchemaSettings(postgres_dsn=f"postgresql://logs:{written}@127.0.0.1:1/logs"))

    assert reader.await_args is not None
    assert reader.await_args.args[1] == meant
