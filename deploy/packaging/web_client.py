"""Hatchling hook: ship the built web client inside the wheel as ``syncd/_web``.

A wheel without it is valid (the server then serves no page at ``/``), so an editable install or a build from a checkout
in which nobody ran ``npm run build`` must not fail.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WebClientHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds ``web/dist`` to a standard wheel when it has been built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before the wheel is written; ``version`` is ``standard`` or ``editable``."""
        dist = Path(self.root, "web", "dist")
        if version == "standard" and (dist / "index.html").is_file():
            build_data["force_include"][str(dist)] = "syncd/_web"
