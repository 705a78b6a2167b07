"""Where a service answers requests, under which names, and what it tells there."""

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from shared.process.hosts import SETTING, split_names
from shared.process.listeners import MAX_PORT
from shared.process.settings import TracedSettings

Port = Annotated[int, Field(gt=0, le=MAX_PORT)]

# From a public port to the internal one beside it.
_BESIDE: Final = 100


def _names(value: str) -> str:
    split_names(value)
    return value


class ServedSettings(TracedSettings):
    """Settings of services that answer requests, at a public address and at one for the fleet alone."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: Port = Field(description="Port to listen on.")
    internal_host: str = Field(
        default="127.0.0.1",
        description="Address of the internal listener, for other services of the fleet and for monitoring.",
    )
    internal_port: int = Field(
        default=0,
        ge=0,
        le=MAX_PORT,
        description="Port of the internal listener; `0`: 100 more than that of the public one, or where that is none, 100 less.",
    )
    allowed_hosts: Annotated[str, AfterValidator(_names)] = Field(
        default="",
        validation_alias=SETTING,
        description="Names by which clients call the service, `logs.example.org,*.example.com`; `*`: any. Addresses, "
        "`localhost` and the machine's own name are allowed anyhow. Others get 421.",
    )
    security: Literal["open", "on"] = Field(
        default="open",
        validation_alias="FLEET_SECURITY",
        description="`on`: gateway and console ask for keys, and `/metrics` and the reasons of `/ready` are on the internal "
        "listener alone.",
    )

    @property
    def port_inside(self) -> int:
        """The internal listener's port."""
        beside = self.port + _BESIDE
        return self.internal_port or (beside if beside <= MAX_PORT else self.port - _BESIDE)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.port_inside == self.port:
            raise ValueError("internal_port must not be the port of the public listener")
        return self
