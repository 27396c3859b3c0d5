"""Where the recorded editing sessions lie (josephg/editing-traces); they are not part of the repository."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def trace_file(name: str) -> Path | None:
    """The gzipped session of that name, or None.

    Looked for in $SYNCD_TRACES, and in `shared/data/traces` beside the checkout.
    """
    folders = [Path(os.environ["SYNCD_TRACES"])] if "SYNCD_TRACES" in os.environ else []
    folders.append(ROOT.parent / "shared" / "data" / "traces")
    for folder in folders:
        path = folder / f"{name}.json.gz"
        if path.exists():
            return path
    return None
