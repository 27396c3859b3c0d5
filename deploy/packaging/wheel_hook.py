"""Hatchling hook: what a wheel has besides the sources.

- The built web client as ``syncd/_web``. A wheel without it is valid (the server then serves no page at ``/``), so an
  editable install, or a build from a checkout in which nobody ran ``npm run build``, must not fail.
- With ``COMPILE_SYNCD=1``, the hot modules as machine code beside their sources. Such a wheel is several
  times faster per update and fits one version of Python on one platform. It needs mypy, setuptools and a C compiler.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WheelHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds ``web/dist`` when it has been built, and compiled modules when they are asked for."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before the wheel is written; ``version`` is ``standard`` or ``editable``."""
        if version != "standard":
            return
        dist = Path(self.root, "web", "dist")
        if (dist / "index.html").is_file():
            build_data["force_include"][str(dist)] = "syncd/_web"
        if os.environ.get("COMPILE_SYNCD") == "1":
            self._compile(build_data)

    def _compile(self, build_data: dict[str, Any]) -> None:
        script = Path(self.root, "deploy", "packaging", "compile_modules.py")
        compiled = Path(self.root, "build", "wheel")
        subprocess.run([sys.executable, script, compiled], cwd=self.root, check=True)
        for library in compiled.rglob("*.so"):
            build_data["force_include"][str(library)] = library.relative_to(compiled).as_posix()
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
