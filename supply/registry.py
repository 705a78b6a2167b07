"""Asks a registry of images, by its HTTP API, which digest a tag has now."""

import hashlib
import re
import ssl

from functools import cache
from typing import Final

import httpx

from supply.images import DOCKER_HUB, Image

# Docker Hub's API is not at the host that its images are named by.
_HUB_API: Final = "registry-1.docker.io"
_TIMEOUT_S: Final = 20
# A list or an index names one manifest for each kind of machine; its digest is good for all of them.
_ACCEPTED: Final = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_LOOPBACK: Final = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?")


class RegistryError(Exception):
    """A registry cannot be reached, or has no such image; the text says which, and why."""


def current_digest(image: Image) -> str:
    """
    Return the digest that the image's tag has in its registry now.

    Raises:
        RegistryError: The registry gives none.
    """
    host = _HUB_API if image.registry == DOCKER_HUB else image.registry
    near = bool(_LOOPBACK.fullmatch(host))
    # As Docker does: a registry of this machine has no certificate, and no proxy is in the way.
    url = f"{'http' if near else 'https'}://{host}/v2/{image.repository}/manifests/{image.tag}"
    try:
        with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True, trust_env=not near, verify=_tls()) as client:
            return _asked(client, url, image)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise RegistryError(
            f"{image.name}: {image.registry} cannot be reached ({str(exc) or type(exc).__name__})"
        ) from exc


@cache
def _tls() -> ssl.SSLContext:
    # To read all certificates takes longer than to ask.
    return httpx.create_ssl_context()


def _asked(client: httpx.Client, url: str, image: Image) -> str:
    headers = {"Accept": _ACCEPTED}
    answer = client.head(url, headers=headers)
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        headers["Authorization"] = f"Bearer {_token(client, answer.headers.get('WWW-Authenticate', ''), image)}"
        answer = client.head(url, headers=headers)
    _check(answer, image)
    digest: str = answer.headers.get("Docker-Content-Digest", "")
    if not digest:
        # The header is optional. A digest is the hash of what the registry sends.
        answer = client.get(url, headers=headers)
        _check(answer, image)
        digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
    if not _DIGEST.fullmatch(digest):
        raise RegistryError(f"{image.name}: {image.registry} answers with no SHA-256 but with {digest[:80]!r}")
    return digest


def _token(client: httpx.Client, challenge: str, image: Image) -> str:
    """Get the token that a registry gives for a public image without a password."""
    said = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if not challenge.lower().startswith("bearer ") or "realm" not in said:
        raise RegistryError(
            f"{image.name}: {image.registry} wants a user and a password; only public images can be pinned"
        )
    question = {name: said[name] for name in ("service", "scope") if name in said}
    answer = client.get(said["realm"], params=question)
    _check(answer, image)
    try:
        tokens = answer.json()
        token = tokens.get("token") or tokens["access_token"]
    except (ValueError, KeyError, AttributeError):
        token = None
    if not isinstance(token, str):
        raise RegistryError(f"{image.name}: {image.registry} gives no token without a password")
    return token


def _check(answer: httpx.Response, image: Image) -> None:
    if answer.status_code == httpx.codes.OK:
        return
    why: dict[int, str] = {
        httpx.codes.NOT_FOUND: "has no such image or tag",
        httpx.codes.UNAUTHORIZED: "has no such public image",
        httpx.codes.FORBIDDEN: "refuses to tell",
        httpx.codes.TOO_MANY_REQUESTS: "was asked too often; try again later",
    }
    told = why.get(answer.status_code, f"answers {answer.status_code}")
    raise RegistryError(f"{image.name}: {image.registry} {told}")
