"""
The reference at `/docs`, as one page that needs nothing else: no script, no other host.

FastAPI's own page loads its script from elsewhere, so it is blank wherever the internet is away. This one is made of the same
OpenAPI document, which stays at `/openapi.json` for tools.
"""

import json
import re

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from html import escape
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Response

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_CODE: Final = re.compile(r"`([^`]+)`")
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1f2937; --dim: #5b6472; --line: #e2e5ea; --paper: #fff; --back: #f6f7f9; --key: #0b5cad; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ec; --dim: #9aa3b0; --line: #343b46; --paper: #1b2028; --back: #12161c; --key: #7ab7f5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 15px/1.55 system-ui, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 27px; margin: 0 0 4px; } h1 small { color: var(--dim); font-size: 15px; font-weight: 400; }
nav a { margin-right: 16px; } a { color: var(--key); text-decoration: none; } a:hover { text-decoration: underline; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; margin-top: 18px; padding: 16px 22px 20px;
  overflow-x: auto; }
h2 { font: 600 17px/1.4 ui-monospace, monospace; margin: 0; overflow-wrap: anywhere; }
h2 b { background: var(--key); border-radius: 5px; color: var(--paper); font-size: 13px; margin-right: 8px; padding: 2px 8px; }
h3 { color: var(--dim); font-size: 13px; letter-spacing: .04em; margin: 20px 0 2px; text-transform: uppercase; }
p { margin: 8px 0; } table { border-collapse: collapse; width: 100%; }
td { border-top: 1px solid var(--line); padding: 6px 14px 6px 0; vertical-align: top; }
td:first-child { white-space: nowrap; } td small { color: var(--dim); }
code, pre { font: 13px/1.5 ui-monospace, monospace; } pre { background: var(--back); border-radius: 8px; overflow-x: auto; padding: 12px; }
"""


def docs_router(app_of: Callable[[], FastAPI], *, paths: tuple[str, ...] = ("/docs",)) -> APIRouter:
    """
    Build the route.

    Args:
        app_of: Returns the application that is described, at the first request.
        paths: Where the page is.
    """
    router = APIRouter(include_in_schema=False)

    @cache
    def page() -> str:
        return render(app_of().openapi())

    async def docs() -> Response:
        return Response(page(), media_type="text/html")

    for path in paths:
        router.add_api_route(path, docs)
    return router


def render(document: Mapping[str, Any]) -> str:
    """Return an OpenAPI document as a page of HTML."""
    info = document["info"]
    operations = [
        (method, path, item[method])
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    ]
    links = "".join(
        f'<a href="#{_anchor(method, path)}">{method.upper()} {escape(path)}</a>' for method, path, _ in operations
    )
    body = "\n".join(_operation(document, *operation) for operation in operations)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>\n{_text(info.get('description', ''))}\n"
        f'<nav>{links}<a href="openapi.json">OpenAPI document</a></nav>\n{body}\n</main></body>\n</html>\n'
    )


def _operation(document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> str:
    return "".join(
        [
            f'<section id="{_anchor(method, path)}"><h2><b>{method.upper()}</b>{escape(path)}</h2>',
            _text(operation.get("description", operation.get("summary", ""))),
            _table("Parameters", [_parameter(item) for item in operation.get("parameters", ())]),
            _request(document, operation.get("requestBody", {}).get("content", {})),
            _table("Answers", [_answer(document, *answer) for answer in operation.get("responses", {}).items()]),
            "</section>",
        ]
    )


def _parameter(parameter: Mapping[str, Any]) -> tuple[str, str]:
    where = f"{parameter['in']}, {_kind(parameter['schema'])}"
    return f"<code>{escape(parameter['name'])}</code>", f"<small>{escape(where)}</small>{_said(parameter)}"


def _request(document: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    parts = []
    for kind, body in content.items():
        schema = _resolved(document, body.get("schema", {}))
        many = schema.get("type") == "array"
        fields = _resolved(document, schema["items"]) if many else schema
        parts.append(f"<h3>Body</h3><p><code>{escape(kind)}</code>{', an array of' if many else ''}{_said(schema)}</p>")
        if not many or len(content) == 1 or fields.get("properties"):
            parts.append(_table("", [_field(*field) for field in _fields(document, fields)]))
        for example in fields.get("examples", ()):
            shown = [example] if many else example
            parts.append(f"<pre>{escape(json.dumps(shown, indent=1, ensure_ascii=False))}</pre>")
    return "".join(parts)


def _answer(document: Mapping[str, Any], status: str, answer: Mapping[str, Any]) -> tuple[str, str]:
    parts = [escape(answer.get("description", ""))]
    for name, header in answer.get("headers", {}).items():
        parts.append(f"<br><small>header <code>{escape(name)}</code>{_said(header)}</small>")
    for kind, body in answer.get("content", {}).items():
        names = ", ".join(f"<code>{escape(name)}</code>" for name, _, _ in _fields(document, body.get("schema", {})))
        parts.append(f"<br><small><code>{escape(kind)}</code>{': ' if names else ''}{names}</small>")
    return f"<code>{escape(status)}</code>", "".join(parts)


def _fields(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    schema = _resolved(document, schema)
    for name, field in schema.get("properties", {}).items():
        yield name, _resolved(document, field), name in schema.get("required", ())


def _field(name: str, field: Mapping[str, Any], required: bool) -> tuple[str, str]:  # noqa: FBT001 - as it is in the schema
    about = f"{_kind(field)}, required" if required else _kind(field)
    return f"<code>{escape(name)}</code>", f"<small>{escape(about)}</small>{_said(field)}"


def _kind(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(choice) for choice in schema["anyOf"])
    kind = str(schema.get("type", "any"))
    if "maxLength" in schema:
        kind += f" of {schema.get('minLength', 0)} to {schema['maxLength']} characters"
    return kind + (f": {', '.join(map(str, schema['enum']))}" if "enum" in schema else "")


def _said(node: Mapping[str, Any]) -> str:
    return f" {_inline(node['description'])}" if node.get("description") else ""


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    target: Any = document
    for part in schema["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return _resolved(document, target)


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    heading = f"<h3>{title}</h3>" if title else ""
    return (
        heading + "<table>" + "".join(f"<tr><td>{name}</td><td>{about}</td></tr>" for name, about in rows) + "</table>"
    )


def _text(markdown: str) -> str:
    return "".join(f"<p>{_inline(part)}</p>" for part in markdown.strip().split("\n\n"))


def _inline(markdown: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(markdown, quote=False))


def _anchor(method: str, path: str) -> str:
    return method + re.sub(r"[^a-z0-9]+", "-", path.lower())
