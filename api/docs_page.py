"""The specification as one page for people: plain HTML, no script, nothing from another host."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h2{margin-top:2.5rem;text-transform:capitalize}code,pre{background:#f3f3f3;border-radius:4px}"
    "code{padding:.1em .3em}pre{padding:.7rem;overflow:auto}details{margin:.6rem 0}"
    "summary{cursor:pointer}.method{display:inline-block;width:4.2rem;font-weight:600}"
    "td{padding:.15rem .8rem .15rem 0;vertical-align:top}"
)


def render_docs(specification: Mapping[str, Any]) -> str:
    """Return the page for an OpenAPI document."""
    by_tag: dict[str, list[str]] = {}
    for path, methods in specification["paths"].items():
        for method, operation in methods.items():
            tag = operation.get("tags", ["other"])[0]
            by_tag.setdefault(tag, []).append(_operation(path, method, operation, specification))
    sections = "".join(
        f"<h2>{escape(tag)}</h2>{''.join(operations)}" for tag, operations in by_tag.items()
    )
    info = specification["info"]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}'
        f"</title><style>{_STYLE}</style><h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{escape(info.get('description', ''))}</p>"
        f'<p>For programs: <a href="/openapi.json">/openapi.json</a>.</p>{sections}</html>'
    )


def _operation(
    path: str, method: str, operation: Mapping[str, Any], specification: Mapping[str, Any]
) -> str:
    parameters = "".join(
        f"<tr><td><code>{escape(each['name'])}</code><td>{escape(each['in'])}"
        f"<td>{escape(each.get('description', ''))}"
        for each in operation.get("parameters", [])
    )
    answers = "".join(
        f"<tr><td><code>{escape(status)}</code><td>{escape(answer['description'])}"
        for status, answer in operation["responses"].items()
    )
    return (
        f"<details><summary><span class=method>{escape(method.upper())}</span>"
        f"<code>{escape(path)}</code> {escape(operation.get('summary', ''))}</summary>"
        f"<p>{escape(operation.get('description', ''))}</p><table>{parameters}</table>"
        f"{_body(operation, specification)}<table>{answers}</table></details>"
    )


def _body(operation: Mapping[str, Any], specification: Mapping[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    body = specification.get("components", {}).get("schemas", {}).get(name, {})
    if not body:
        return ""
    shown = (body.get("examples") or [dict.fromkeys(body.get("properties", {}), "…")])[0]
    return f"<pre>{escape(json.dumps(shown, indent=2, ensure_ascii=False))}</pre>"
