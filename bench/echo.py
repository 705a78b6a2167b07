"""The least that FastAPI can do with a post: `echo` gives the body back, `checked` has pydantic read an event first."""

from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

app = FastAPI()


class Event(BaseModel):
    """An event with the fields that a client must send."""

    serviceName: str  # noqa: N815 - as on the wire
    level: str
    message: str
    correlationId: str  # noqa: N815 - as on the wire
    attributes: dict[str, Any]


@app.get("/ready")
async def ready() -> None:
    """Say that it runs."""


@app.post("/echo")
async def echo(request: Request) -> Response:
    """Give the body back."""
    return Response(await request.body(), media_type="application/json")


@app.post("/checked")
async def checked(event: Event) -> Event:
    """Read an event, and write it again."""
    return event
