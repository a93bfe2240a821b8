"""Sphinx configuration. doc/compile_docs.sh builds the pages."""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "extensions"))

project = "balancer"
author = "the balancer authors"
project_copyright = "the balancer authors"
release = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["api_reference", "device_rights", "oslo_config.sphinxext"]
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px", "description": "A load-balancer service for ordinary HAProxy hosts"}
html_copy_source = False
nitpicky = True
