"""Opens the sockets of what is not HTTP, before anything is started: what is wrong with them ends the process with a sentence."""

import ssl

from gateway.listeners.syslog import SyslogDoor
from gateway.settings import GatewaySettings
from shared.process.listeners import ListenError, open_sockets
from shared.process.tls import bounded


def open_syslog(settings: GatewaySettings) -> SyslogDoor | None:
    """
    Bind to the port of syslog, if there is to be one.

    Raises:
        ListenError: It cannot be had, or a file for TLS cannot be used.
    """
    if settings.syslog_port is None:
        return None
    tls = _context(settings) if settings.syslog_tls_cert else None
    sockets = open_sockets(settings.host, settings.syslog_port, "GATEWAY_HOST or GATEWAY_SYSLOG_PORT")
    return SyslogDoor(sockets, tls, settings.syslog_max_connections)


def _context(settings: GatewaySettings) -> ssl.SSLContext:
    context = bounded()
    try:
        context.load_cert_chain(settings.syslog_tls_cert, settings.syslog_tls_key)
    except OSError as exc:  # OpenSSL's errors included
        raise ListenError(
            f"GATEWAY_SYSLOG_TLS_CERT and GATEWAY_SYSLOG_TLS_KEY cannot be used: {exc}; "
            "name a certificate and its key, in PEM, that the gateway's user can read"
        ) from exc
    if settings.syslog_tls_ca:
        try:
            context.load_verify_locations(settings.syslog_tls_ca)
        except OSError as exc:
            raise ListenError(
                f"GATEWAY_SYSLOG_TLS_CA cannot be used: {exc}; name a file of certificates in PEM"
            ) from exc
        context.verify_mode = ssl.CERT_REQUIRED
    return context
