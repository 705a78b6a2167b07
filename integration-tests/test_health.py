"""`native.health` asks an exporter; how it asks the other parts is seen whenever the fleet starts."""

import asyncio

import pytest

from native.health import examine


@pytest.mark.parametrize(
    ("metrics", "ok", "detail"),
    [
        (b"pg_up 1\n", True, "sees what it watches"),
        (b'# HELP pg_up x\npg_up{server="a"} 1\npg_up_total 0\n', True, "sees what it watches"),
        (b"pg_up 0\n", False, "sees nothing: pg_up is 0"),
        (b'pg_up{server="a"} 1\npg_up{server="b"} 0\n', False, "sees nothing: pg_up is 1, 0"),
        (b"go_goroutines 7\n", False, "sees nothing: pg_up is missing"),
    ],
)
async def test_an_exporter_is_well_that_sees_what_it_watches(metrics: bytes, ok: bool, detail: str) -> None:  # noqa: FBT001 - what is expected
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(metrics) + metrics)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        report = await examine("postgres-exporter", f"exporter://127.0.0.1:{port}/pg_up")

    assert (report.ok, report.detail) == (ok, detail)


async def test_an_exporter_that_is_gone_is_ill() -> None:
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]

    report = await examine("postgres-exporter", f"exporter://127.0.0.1:{port}/pg_up")

    assert not report.ok
