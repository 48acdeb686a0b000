"""The files that pages are made of: a template is filled, and its one script named by a digest, so no other can run."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any


def asset(name: str) -> str:
    """Return a file of this folder."""
    return (files(__package__) / name).read_text(encoding="utf-8")


def fill(template: str, script: str, data: Any, parts: Mapping[str, str]) -> str:
    """Fill a page.

    Args:
        template: The name of its HTML file.
        script: The name of its script.
        data: JSON values for the script.
        parts: What stands for the other names in the template: HTML, with text escaped already.
    """
    code = asset(script)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    own = {"style": asset("page.css"), "script": code, "script_digest": f"sha256-{digest}", "data": script_json(data)}
    return Template(asset(template)).substitute({**parts, **own})


def script_json(data: Any) -> str:
    """Return JSON that no text in it can end: `<` is escaped, so `</script>` and `<!--` stay text."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return text.encode("utf-8", "replace").decode()  # half of a surrogate pair has no UTF-8
