"""``.. sudoers-lines:: LOGIN`` prints the sudoers lines that a HAProxy device needs, from the driver that runs them.

With the option ``:unit:`` those for a HAProxy under systemd; with ``:only:`` those for one command.
"""

from __future__ import annotations

from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from balancer.drivers.haproxy.rights import sudoers_lines


class SudoersLines(SphinxDirective):
    required_arguments = 1
    option_spec: ClassVar = {"unit": directives.unchanged, "only": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        lines = sudoers_lines(self.arguments[0], unit=self.options.get("unit"))
        only = self.options.get("only")
        text = "\n".join(line for line in lines if only is None or f"/{only} " in line)
        return [nodes.literal_block(text, text, language="text")]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("sudoers-lines", SudoersLines)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
