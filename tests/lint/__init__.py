"""What holds for the source as a whole: style, types, layers, layout, documentation."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
