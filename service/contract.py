"""The published description of the service: ``/openapi.json`` for programs, ``/docs`` for people, from one source."""

from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse

from .errors import MEDIA_TYPE

SUMMARY = "Picture in, the nearest items out."
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
STYLE = (
    ":root{color-scheme:light dark;font:1rem/1.5 system-ui,sans-serif}body{max-width:48rem;margin:2rem auto;padding:0 1rem}"
    "h2{margin:2.5rem 0 .25rem;font-size:1.1rem}dt{font-weight:600}dd{margin:0 0 .5rem 1.5rem}code{overflow-wrap:anywhere}"
)


def install(app: FastAPI) -> None:
    def description() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(title=app.title, version=app.version, summary=SUMMARY, routes=app.routes)
            app.openapi_schema = _with_problems(found)
        return app.openapi_schema

    async def openapi() -> JSONResponse:
        return JSONResponse(description())

    async def docs() -> HTMLResponse:
        return HTMLResponse(page(description()), headers={"Content-Security-Policy": POLICY})

    app.openapi = description  # type: ignore[method-assign]
    app.add_api_route("/openapi.json", openapi, include_in_schema=False)
    app.add_api_route("/docs", docs, include_in_schema=False)


def _with_problems(found: dict[str, Any]) -> dict[str, Any]:
    """FastAPI files errors under the media type of good answers, and knows its own validation errors only."""
    problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
    for methods in found["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if status >= "400":
                    answer["content"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        found["components"]["schemas"].pop(unused, None)
    return found


def page(found: dict[str, Any]) -> str:
    """An OpenAPI description as HTML that needs nothing else."""
    operations = [
        _operation(method, path, operation) for path, methods in found["paths"].items() for method, operation in methods.items()
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(found['info']['title'])}: HTTP</title><style>{STYLE}</style>"
        f"<h1>{escape(found['info']['title'])} {escape(found['info']['version'])}</h1><p>{escape(found['info']['summary'])} "
        f'For programs: <a href="/openapi.json">openapi.json</a>. Errors are problems as in RFC 9457: '
        f"<code>detail</code> says what to do.</p>{''.join(operations)}</html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    facts = {parameter["name"]: _parameter(parameter) for parameter in operation.get("parameters", [])}
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        facts[kind] = "body: " + (", ".join(body["schema"].get("properties", {})) or "the picture's bytes")
    answers = sorted((status, answer["description"]) for status, answer in operation["responses"].items())
    facts["answers"] = ", ".join(f"{status} {said.lower()}" for status, said in answers)
    rows = "".join(f"<dt><code>{escape(name)}</code></dt><dd>{escape(fact)}</dd>" for name, fact in facts.items())
    about = operation.get("description", operation["summary"])
    return f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(about)}</p><dl>{rows}</dl>"


def _parameter(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    words = {"minimum": "at least", "maximum": "at most", "default": "default"}
    limits = [f"{word} {schema[key]}" for key, word in words.items() if key in schema]
    limits += [f"for example {example}" for example in schema.get("examples", [])]
    choices = [" or ".join(choice.get("enum", [])) for choice in schema.get("anyOf", [])]
    return "; ".join(fact for fact in (parameter.get("description", ""), *choices, *limits) if fact)
