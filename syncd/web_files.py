"""The built web client, held in memory.

It is a few small files. Read once, they need no disk, no thread and no path of the file system per request: a request
can only name what is in the table, so there is nothing to traverse.
"""

import gzip
import hashlib
import mimetypes
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

INDEX = "index.html"

_HASHED = re.compile(r"-[A-Za-z0-9_-]{8,}\.\w+$")
"""Vite puts a hash of the content into the names of what it builds; files it only copies keep theirs."""

_COMPRESSIBLE = re.compile(r"text/|application/(javascript|json|manifest\+json|wasm)|image/svg\+xml")

# `mimetypes` asks the system for some of these, and systems differ; nosniff makes a wrong answer fatal.
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True, slots=True)
class WebFile:
    """One file: its bytes, compressed bytes if that is worth it, and the headers that describe it."""

    body: bytes
    packed: bytes | None
    media_type: str
    etag: str
    immutable: bool


def load_web_files(folder: Path) -> Mapping[str, WebFile] | None:
    """All files under `folder` by their path relative to it, with '/'; None if there is no index.html.

    Raises OSError if a file cannot be read.
    """
    if not (folder / INDEX).is_file():
        return None
    return {path.relative_to(folder).as_posix(): _load(path) for path in sorted(_files(folder))}


def find_web_folder() -> Path:
    """Where the client is: inside the installed package, else where a checkout builds it."""
    here = Path(__file__).parent
    packaged = here / "_web"
    return packaged if packaged.is_dir() else here.parent / "web" / "dist"


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _load(path: Path) -> WebFile:
    body = path.read_bytes()
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    packed = gzip.compress(body, mtime=0) if len(body) > 1024 and _COMPRESSIBLE.match(media_type) else None
    return WebFile(
        body=body,
        packed=packed if packed is not None and len(packed) < len(body) * 0.9 else None,
        media_type=media_type,
        etag=hashlib.sha256(body).hexdigest()[:32],
        immutable=_HASHED.search(path.name) is not None,
    )
