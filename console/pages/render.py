"""Templates in, HTML out."""

from pathlib import Path
from typing import Any, Final

from fastapi import Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from console.pages.static import StaticFiles

FOLDER: Final = Path(__file__).parent / "templates"


class Templates:
    """
    The templates of all pages. Every value is escaped, and a name that a template does not get is an error.

    Args:
        static: Where pages find their files.
        asks_for_keys: Whether there is a page that does.
    """

    def __init__(self, static: StaticFiles, *, asks_for_keys: bool = False) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals["static"] = static.prefix
        self._environment.globals["asks_for_keys"] = asks_for_keys

    def text(self, name: str, **values: Any) -> str:
        """Return a page's text."""
        return self._environment.get_template(name).render(values)

    def page(self, name: str, *, status: int = 200, headers: dict[str, str] | None = None, **values: Any) -> Response:
        """Return a page as an answer."""
        # A lone surrogate, which JSON can have, has no form in UTF-8.
        body = self.text(name, **values).encode("utf-8", "replace")
        return Response(body, status, headers, media_type="text/html; charset=utf-8")
