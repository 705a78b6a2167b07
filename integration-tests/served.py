"""An application of ours on a real socket, served as its process serves it."""

import asyncio

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from fastapi import FastAPI

from shared.process.server import KEEP_ALIVE_S, LogProtocol


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Return its address."""
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=0,
            http=LogProtocol,
            ws="none",
            log_config=None,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
    )
    serving = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
