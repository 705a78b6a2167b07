"""How a service is let in to a Kafka: by nothing, by a certificate, or by a name and a password."""

import ssl

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from shared.process.settings import ServiceSettings, secret
from shared.process.tls import certificate

Access = Mapping[str, Any]
"""Arguments that all clients of aiokafka take."""

OPEN: Access = {}
"""No arguments: a program that reaches that Kafka may use it."""


class KafkaSettings(ServiceSettings):
    """Where the region's Kafka is, and how a service is let in."""

    kafka_bootstrap_servers: str = Field(default="127.0.0.1:9092", description="The region's Kafka, `host:port,…`.")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT",
        description="As that Kafka's listener wants it: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.",
    )
    kafka_ca_file: str = Field(
        default="",
        description="With SSL: certificate of the authority that made the brokers', in PEM; none: those that the machine trusts.",
    )
    kafka_cert_file: str = Field(
        default="", description="With SSL: the service's own certificate, in PEM, if Kafka asks for one."
    )
    kafka_key_file: str = Field(default="", description="Its key.")
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="With SASL: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."
    )
    kafka_sasl_username: str = Field(default="", description="With SASL: the service's name.")
    kafka_sasl_password: str = secret("", description="With SASL: its password.")

    @property
    def kafka_access(self) -> Access:
        """
        Return the arguments by which a client is let in.

        Raises:
            TlsError: A file cannot be used.
        """
        protocol = self.kafka_security_protocol
        if protocol == "PLAINTEXT":
            return OPEN
        access: dict[str, Any] = {"security_protocol": protocol}
        if protocol.endswith("SSL"):
            access["ssl_context"] = self._tls()
        if protocol.startswith("SASL"):
            access |= {
                "sasl_mechanism": self.kafka_sasl_mechanism,
                "sasl_plain_username": self.kafka_sasl_username,
                "sasl_plain_password": self.kafka_sasl_password,
            }
        return access

    def _tls(self) -> ssl.SSLContext:
        fields = ("kafka_cert_file", "kafka_key_file", "kafka_ca_file")
        cert, key, ca = (getattr(self, field) for field in fields)
        return certificate(cert, key, ca, self.named(*fields)).client()

    @model_validator(mode="after")
    def _enough(self) -> Self:
        protocol = self.kafka_security_protocol
        if bool(self.kafka_cert_file) != bool(self.kafka_key_file):
            raise ValueError(f"{self.named('kafka_cert_file', 'kafka_key_file')} belong together: set both, or none")
        if protocol.startswith("SASL") and not (self.kafka_sasl_username and self.kafka_sasl_password):
            raise ValueError(f"{protocol} needs {self.named('kafka_sasl_username', 'kafka_sasl_password')}")
        if not protocol.endswith("SSL") and (self.kafka_ca_file or self.kafka_cert_file):
            raise ValueError(
                f"{self.named('kafka_ca_file', 'kafka_cert_file')} are for SSL, and {self.named('kafka_security_protocol')} is {protocol}"
            )
        return self
