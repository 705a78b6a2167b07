"""Where a service answers requests, under which names, and what it tells there."""

import ssl

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from shared.process.hosts import SETTING, split_names
from shared.process.listeners import MAX_PORT, Listener
from shared.process.peers import Peers
from shared.process.settings import TracedSettings
from shared.process.tls import Certificate, certificate

Port = Annotated[int, Field(gt=0, le=MAX_PORT)]

PEERS: Final = "Services that may ask the internal listener everything, by the names in their certificates."
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

    tls_cert_file: str = Field(
        default="",
        description="Certificate of the public listener, and those between it and its authority, in PEM: it speaks https then. "
        "A file that changes is read again, without a pause.",
    )
    tls_key_file: str = Field(default="", description="Its key.")
    fleet_cert_file: str = Field(
        default="",
        description="Certificate by which the fleet's other services know this one, in PEM, with the name "
        "`spiffe://fleet/SERVICE`. With it the internal listener takes connections of services with such a certificate alone.",
    )
    fleet_key_file: str = Field(default="", description="Its key.")
    fleet_ca_file: str = Field(default="", description="Certificate of the authority that made them all.")
    peers: Annotated[str, AfterValidator(_names)] = Field(default="", description=PEERS)
    watchers: Annotated[str, AfterValidator(_names)] = Field(
        default="prometheus,admin",
        description="Services that may ask it for `/health`, `/ready` and `/metrics`.",
    )

    @property
    def identity(self) -> Certificate | None:
        """By which other services know this one, and by which it knows them; None: the fleet has no certificates."""
        if not self.fleet_cert_file:
            return None
        files = (self.fleet_cert_file, self.fleet_key_file, self.fleet_ca_file)
        return certificate(*files, self.named("fleet_cert_file", "fleet_key_file", "fleet_ca_file"))

    @property
    def to_fleet(self) -> ssl.SSLContext | None:
        """For connections to other services of the fleet, whose addresses begin with https then."""
        return None if (identity := self.identity) is None else identity.client()

    def secured(self, listener: Listener, *, internal: bool) -> Listener:
        """
        Give a listener what it needs for TLS, if the settings say so.

        Raises:
            TlsError: A file cannot be used.
        """
        if internal and (identity := self.identity) is not None:
            listener.tls = identity.server(mutual=True)
            listener.peers = Peers(listener.app, split_names(self.peers), split_names(self.watchers))
        elif self.tls_cert_file and not internal:
            own = certificate(self.tls_cert_file, self.tls_key_file, "", self.named("tls_cert_file", "tls_key_file"))
            listener.tls = own.server(mutual=False)
        return listener

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

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for group in (("tls_cert_file", "tls_key_file"), ("fleet_cert_file", "fleet_key_file", "fleet_ca_file")):
            given = [bool(getattr(self, name)) for name in group]
            if any(given) and not all(given):
                raise ValueError(f"{self.named(*group)} belong together: set all of them, or none")
        return self
