"""
What an outsider tries at a fleet's ports, or on its wires. Run as a program, here or in a container that has Python and no more.

    stranger.py tap MARKER...            listen to all packets until standard input ends; print what was seen as JSON
    stranger.py ask FOLDER URL           post an event there with the certificate in FOLDER (-: none); print the status, or "cut"
    stranger.py talk plain|tls HOST PORT HEX
                                         send bytes there, in plain text, or by TLS without a certificate; print the answer in hexadecimal
"""

import contextlib
import http.client
import json
import select
import socket
import ssl
import sys

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_ALL_PACKETS: Final = 3
_LARGEST: Final = 1 << 17
_LAST: Final = 100_000
_OWN: Final = b"in-plain-text"
_TIMEOUT_S: Final = 20.0


def tap(markers: Sequence[bytes]) -> dict[str, int]:
    """
    Listen until standard input ends.

    Returns:
        How many packets there were, how many of TLS, how many with each marker in them, and with a word that this function sends.
    """
    seen = {"packets": 0, "tls": 0, _OWN.decode(): 0} | {marker.decode(): 0 for marker in markers}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PACKETS)) as wire:
        # A packet that finds no room is not seen.
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024 * 1024)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            plain.sendto(_OWN, ("127.0.0.1", 9))
        tell("listening")
        while sys.stdin not in select.select([wire, sys.stdin], [], [])[0]:
            _note(wire.recv(_LARGEST), seen, markers)
        # What is there already. More may come without end.
        with contextlib.suppress(BlockingIOError):
            for _ in range(_LAST):
                _note(wire.recv(_LARGEST, socket.MSG_DONTWAIT), seen, markers)
    return seen


def _note(packet: bytes, seen: dict[str, int], markers: Sequence[bytes]) -> None:
    seen["packets"] += 1
    # Application data of TLS 1.2 and 1.3.
    seen["tls"] += b"\x17\x03\x03" in packet
    for marker in (_OWN, *markers):
        seen[marker.decode()] += marker in packet


def tell(said: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{said}\n")
    sys.stdout.flush()


def without_a_certificate() -> ssl.SSLContext:
    """Return a client's context that takes every server's certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def ask(folder: str, url: str) -> str:
    """Post an event."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
    if parts.scheme == "https":
        context = without_a_certificate()
        if folder != "-":
            context.load_cert_chain(Path(folder) / "cert.pem", Path(folder) / "key.pem")
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_S, context=context)
    try:
        connection.request("POST", parts.path, b"{}", {"content-type": "application/x-ndjson"})
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException):
        return "cut"
    finally:
        connection.close()


def talk(how: str, host: str, port: int, said: bytes) -> bytes:
    """Say something, and return what is answered, if anything is."""
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=_TIMEOUT_S) as plain:
        wire = plain if how == "plain" else without_a_certificate().wrap_socket(plain)
        wire.sendall(said)
        answer = wire.recv(4096)
    return answer


def main() -> None:
    """Try one of these."""
    verb, *given = sys.argv[1:]
    if verb == "tap":
        tell(json.dumps(tap([marker.encode() for marker in given])))
    elif verb == "ask":
        tell(ask(*given))
    else:
        how, host, port, said = given
        tell(talk(how, host, int(port), bytes.fromhex(said)).hex())


if __name__ == "__main__":
    main()
