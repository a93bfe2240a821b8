"""Directives that write the reference of a REST dialect from the code that serves it.

``.. api-objects:: balancer.api.v1.schemas`` makes a section for
every JSON Schema of that module, in the module's order, or for the resources of its ``REFERENCE``. ``.. api-routes::
balancer.api.v1.openapi`` makes the table of routes. ``.. api-errors:: STATUSES`` tells which error has which status, by
that table of `balancer.api.errors`.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from balancer.api import app as application
from balancer.api import errors
from balancer.api.validation import FORMATS
from balancer.config import Settings

Schema = Mapping[str, Any]


class ApiObjects(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = importlib.import_module(self.arguments[0])
        if hasattr(module, "REFERENCE"):
            schemas = [resource.json_schema() for resource in module.REFERENCE]
        else:
            schemas = [
                value
                for name, value in vars(module).items()
                if isinstance(value, dict) and "title" in value and not name.startswith("_")
            ]
        text = "\n".join(line for schema in schemas for line in section(schema))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class ApiRoutes(SphinxDirective):
    """What is served, except what answers behind a project's name as well: that is said in a sentence."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        described = importlib.import_module(self.arguments[0])
        # A table needs no service before it is asked.
        table = application.balancer_table(None, Settings())
        served = {(method, path): rest for method, path, *rest in described.rows(table)}
        rows = [
            (method, f"``{path}``", markup(does), status)
            for (method, path), (does, status) in served.items()
            if (method, path.removeprefix("/{tenant}")) not in served.keys() - {(method, path)}
        ]
        header = ("method", "path", "does", "success")
        return self.parse_text_to_nodes(list_table(header, rows, (8, 42, 42, 8)))


class ApiErrors(SphinxDirective):
    """Which error of the program answers with which status."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        statuses = getattr(errors, self.arguments[0])
        rows = [
            (f"``{int(status)} {status.phrase}``", markup(first_paragraph(error)))
            for error, status in sorted(statuses.items(), key=lambda item: item[1])
        ]
        return self.parse_text_to_nodes(list_table(("status", "when"), rows, (30, 70)))


def first_paragraph(documented_object: Any) -> str:
    documented = inspect.getdoc(documented_object) or ""
    return " ".join(documented.partition("\n\n")[0].split())


def section(schema: Schema) -> list[str]:
    """Heading and table of an object."""
    required = schema.get("required", ())
    told = any("x-haproxy" in field for field in schema["properties"].values())
    rows = [
        (
            f"``{name}``" + (" (required)" if name in required else ""),
            markup(field.get("description", "")),
            markup(values(field)),
            default(field),
            *((markup(effect(field)),) if told else ()),
        )
        for name, field in schema["properties"].items()
    ]
    title = schema["title"]
    header = ("field", "meaning", "values", "default", "effect on HAProxy")[: 5 if told else 4]
    return [title, "~" * len(title), "", list_table(header, rows, (18, 30, 24, 10, 18)[: 5 if told else 4]), ""]


def values(field: Schema) -> str:
    """What may be sent, in words."""
    if field.get("readOnly"):
        return "read only"
    types = field.get("type", "any")
    parts = [types if isinstance(types, str) else " or ".join(types)]
    if "enum" in field:
        parts.append(", ".join(f"`{value}`" for value in field["enum"]))
        also = ", ".join(f"`{key}` for `{value}`" for key, value in field.get("x-synonyms", {}).items())
        parts += [f"also {also}"] if also else []
    elif "x-pattern" in field:
        parts.append(field["x-pattern"])
    elif field.get("format", "text") not in ("text", "multiline"):
        parts.append(FORMATS[field["format"]].says)
    elif field.get("type") == "object" and "properties" in field:
        parts += ["; ".join(f"`{name}`: {values(part)}" for name, part in field["properties"].items())]
    elif field.get("type") == "array":
        parts = [f"list of {values(field['items'])}"]
        if field.get("x-single"):
            parts.append("a bare value is a list of one")
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        parts.append(f"{low} to {high}")
    elif low is not None or high is not None:
        parts.append(f"at least {low}" if high is None else f"at most {high}")
    if "maxLength" in field:
        parts.append(f"up to {field['maxLength']} characters")
    if "maxItems" in field:
        parts.append(f"up to {field['maxItems']}")
    return "; ".join(parts)


def effect(field: Schema) -> str:
    """What it does in HAProxy's configuration; nothing is said of what is only read."""
    return "" if field.get("readOnly") else field.get("x-haproxy", "none")


def default(field: Schema) -> str:
    """The default as JSON-like text; what is empty is left blank."""
    value = field.get("default", field.get("x-shown"))
    return "" if value is None or value in ("", []) else f"``{value}``"


def markup(text: str) -> str:
    """Plain text with `code` in backticks, as reStructuredText."""
    parts = text.split("`")
    return "".join(
        f"``{part}``" if index % 2 else re.sub(r"([\\*_|<>])", r"\\\1", part) for index, part in enumerate(parts)
    )


def list_table(header: Iterable[str], rows: Iterable[Iterable[str]], widths: Iterable[int]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {' '.join(map(str, widths))}", ""]
    for row in (header, *rows):
        lines += [f"   {'*' if index == 0 else ' '} - {cell}" for index, cell in enumerate(row)]
    return "\n".join([*lines, ""])


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("api-objects", ApiObjects)
    app.add_directive("api-routes", ApiRoutes)
    app.add_directive("api-errors", ApiErrors)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
