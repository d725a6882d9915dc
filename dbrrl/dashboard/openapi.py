"""The API's description in the form of OpenAPI 3.1, made from the table of endpoints."""

import re
from typing import Any

import msgspec

from . import messages as m
from .endpoints import ENDPOINTS, STATUSES, Endpoint

_LIVE = {
    "summary": "Tell each new version of the list of runs, as server-sent events named `version`, without an end.",
    "operationId": "getApiLive",
    "responses": {"200": {"description": "The events.", "content": {"text/event-stream": {"schema": {}}}}},
}
_REFERENCE = "#/components/schemas/{name}"


def description(version: str) -> dict[str, Any]:
    """Return the whole description."""
    kinds: list[type] = [m.Error]
    for one in ENDPOINTS:
        kinds += [kind for kind in (one.gives, one.query, one.body) if isinstance(kind, type)]
    _, schemas = msgspec.json.schema_components(list(dict.fromkeys(kinds)), ref_template=_REFERENCE)
    paths: dict[str, Any] = {}
    for one in ENDPOINTS:
        paths.setdefault(one.path.replace(":path", ""), {})[one.method.lower()] = _operation(one, schemas)
    paths["/api/live"] = {"get": _LIVE}
    return {
        "openapi": "3.1.0",
        "info": {"title": "dbrrl dashboard", "version": version},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}],
    }


def _operation(one: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": _REFERENCE.format(name="Error")}}}
    responses: dict[str, Any] = {str(code): {"description": text, "content": error} for code, text in STATUSES.items()}
    if isinstance(one.gives, tuple):
        content: dict[str, Any] = {kind: {"schema": {}} for kind in one.gives}
    else:
        content = {"application/json": {"schema": {"$ref": _REFERENCE.format(name=one.gives.__name__)}}}
    responses = {"200": {"description": "Done.", "content": content}} | responses
    found: dict[str, Any] = {"summary": one.summary, "operationId": f"{one.method.lower()}{_words(one.path)}"}
    found["parameters"] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"\{(\w+)", one.path)
    ]
    if one.query is not None:
        known = schemas[one.query.__name__]
        found["parameters"] += [
            {"name": name, "in": "query", "required": name in known.get("required", ()), "schema": schema}
            for name, schema in known["properties"].items()
        ]
    if one.body is not None:
        schema = {"$ref": _REFERENCE.format(name=one.body.__name__)}
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return found | {"responses": responses}


def _words(path: str) -> str:
    return "".join(word.capitalize() for word in re.findall(r"\w+", path.replace(":path", "")))
