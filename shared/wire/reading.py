"""How a gateway passes readers' requests on to the console, which is the client of neither."""

from typing import Final

from shared.wire.internal import PREFIX

LOGS: Final = "/api/logs"
INTERNAL_LOGS: Final = PREFIX + LOGS
"""Where the console's internal listener has the reading API. Its public one answers 404 there, and says where the internal one is."""
CALLER_HEADER: Final = "Fleet-Caller"
"""The address of the gateway's client. Believed on the internal listener alone."""
TENANT_HEADER: Final = "Fleet-Tenant"
"""Whose events that client may see, and `KEY_HEADER` by which key. They are there where keys are asked for, and believed as above."""
KEY_HEADER: Final = "Fleet-Key"
