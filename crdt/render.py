"""A document in the formats in which people take it out: data, text, Quill delta, HTML, Markdown.

Builds a `Doc` from clients' bytes, so it runs in a child process only: hostile bytes may make the engine hang or crash.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pycrdt import Array, ArrayEvent, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from crdt.errors import ProtocolError
from crdt.merge import merge
from crdt.render_blocks import EMBED, Block, Element, Run, from_delta, from_xml, plain_text
from crdt.render_html import html_page, markup
from crdt.render_markdown import markdown
from crdt.render_roots import mend_pairs, root_kinds

MAIN: Final = "quill"
"""The name under which Quill's binding keeps the text by custom."""

_EXACT: Final = 2**53
"""Up to here a float holds whole numbers exactly. yrs hands out every number as a float but large integers."""


def render(updates: Sequence[bytes], format: str) -> bytes:
    """Render the document that valid updates, in causal order, make up. Text is UTF-8.

    Args:
        format: `update` (the updates as one), `json` (all shared types), `text`, `delta` (Quill), `html` or `md` (the
            main text: the root type named `quill`, or else the only text or XML fragment; without a main text
            each text under its name, save for `delta`).

    Raises:
        ProtocolError: `format`; `no-text` or `no-delta` when the document has nothing to show in this format; `depth`;
            `render` when the engine cannot read the document; and the rules of `crdt.update`.
    """
    if format == "update":
        return merge(updates)
    write = _FORMATS.get(format)
    if write is None:
        raise ProtocolError("format", "there is no such format")
    try:
        return write(Roots(updates)).encode()
    except (ProtocolError, MemoryError):
        raise
    except RecursionError as error:
        raise ProtocolError("depth", "the document is nested too deep to be rendered") from error
    except Exception as error:  # whatever it is, the bytes brought it about; its text may hold parts of the document
        raise ProtocolError("render", f"the document cannot be read: {type(error).__name__}") from error


class Roots:
    """The root types of a document, each read as the kind that its content shows.

    Attributes:
        kinds: name -> kind.
    """

    def __init__(self, updates: Sequence[bytes]) -> None:
        data = merge(updates)
        self.kinds = root_kinds([data])
        self._doc: Doc[Any] = Doc()
        self._arrays: dict[str, list[object]] = {name: [] for name, kind in self.kinds.items() if kind == "array"}
        observed = [(self._doc.get(name, type=Array[Any]), values) for name, values in self._arrays.items()]
        subscriptions = [array.observe(_collector(values)) for array, values in observed]
        self._doc.apply_update(mend_pairs(data))
        for (array, _), subscription in zip(observed, subscriptions, strict=True):
            array.unobserve(subscription)

    def value(self, name: str) -> object:
        """A root as JSON data."""
        match self.kinds[name]:
            case "text":
                return str(self._doc.get(name, type=Text))
            case "xml":
                return markup(self.fragment(name))
            case "array":
                return [_plain(value) for value in self._arrays[name]]
            case "map":
                return _plain(self._doc.get(name, type=Map[Any]))
            case "empty":
                return None

    def runs(self, name: str) -> list[Run]:
        """A text with its formats and embeds."""
        return _runs(self._doc.get(name, type=Text))

    def fragment(self, name: str) -> Element:
        """An XML fragment."""
        return _element(self._doc.get(name, type=XmlFragment))

    def block(self, name: str) -> Block:
        """A text or an XML fragment as blocks."""
        match self.kinds[name]:
            case "text":
                return from_delta(self.runs(name))
            case "xml":
                return from_xml(self.fragment(name))
            case _:
                return Block("")

    def texts(self) -> list[str]:
        """The names of the main text alone or, without one, of all texts and XML fragments.

        Raises:
            ProtocolError: `no-text` when there is none.
        """
        found = sorted(name for name, kind in self.kinds.items() if kind in ("text", "xml"))
        emptied = sorted(name for name, kind in self.kinds.items() if kind == "empty")
        if MAIN in found or MAIN in emptied:
            return [MAIN]
        if not found and not emptied:
            raise ProtocolError("no-text", "the document holds no text, only data: export it as json")
        return found or emptied[:1]


def _collector(values: list[object]) -> Callable[[ArrayEvent], None]:
    """Collect an array as it is loaded: reading it one by one takes a walk through its blocks for each value."""

    def collect(event: ArrayEvent) -> None:
        delta: list[dict[str, Any]] = event.delta  # type: ignore[attr-defined]  # set from __slots__
        for change in delta:
            values.extend(change.get("insert", ()))

    return collect


def _plain(value: object) -> object:
    """A value as JSON can hold it: keys in order, whole numbers as integers, no NaN; bytes become base64."""
    if isinstance(value, float):
        if value - value != 0.0:
            return None  # as JSON.stringify does
        return int(value) if value.is_integer() and abs(value) <= _EXACT else value
    if isinstance(value, Text):
        return str(value)
    if isinstance(value, XmlFragment | XmlElement):
        return markup(_element(value))
    if isinstance(value, XmlText):
        return "".join(map(markup, _runs(value)))
    if isinstance(value, Map | Mapping):
        return {key: _plain(inner) for key, inner in sorted(value.items(), key=_key)}
    if isinstance(value, bytes | bytearray):
        return {"base64": b64encode(value).decode()}
    if isinstance(value, Array | list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Doc):
        return {"subdocument": value.guid}
    return value


def _key(entry: tuple[str, object]) -> str:
    return entry[0]


def _runs(text: Text | XmlText) -> list[Run]:
    return [Run(_content(value), _attributes((attributes or {}).items())) for value, attributes in text.diff()]


def _content(value: object) -> object:
    if isinstance(value, XmlFragment | XmlElement | XmlText):
        return _element(value)
    return _plain(value)


def _element(node: XmlFragment | XmlElement | XmlText) -> Element:
    if isinstance(node, XmlText):
        return Element("text", _attributes(node.attributes), _runs(node))
    children: list[Element | Run] = []
    for child in node.children:
        element = _element(child)
        plain = isinstance(child, XmlText) and not element.attributes  # Lexical and Slate: a block is a text as well
        children += element.children if plain else [element]
    if isinstance(node, XmlElement):
        return Element(node.tag or "", _attributes(node.attributes), children)
    return Element("", {}, children)


def _attributes(pairs: Any) -> dict[str, object]:
    """Attributes by name: the engine hands them out in any order. `pairs` because pycrdt's view is not an Iterable."""
    return {str(key): _plain(value) for key, value in sorted(pairs, key=_key)}


def _json(roots: Roots) -> str:
    return _dump({name: roots.value(name) for name in sorted(roots.kinds)})


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _text(roots: Roots) -> str:
    names = roots.texts()
    if len(names) == 1:
        return _text_of(roots, names[0])
    return "\n\n".join(f"{name}\n\n{_text_of(roots, name)}" for name in names)


def _text_of(roots: Roots, name: str) -> str:
    if roots.kinds[name] == "text":
        runs = roots.runs(name)
        if not any(isinstance(run.content, Element) for run in runs):
            return "".join(run.content if isinstance(run.content, str) else EMBED for run in runs)
    return plain_text(roots.block(name))


def _delta(roots: Roots) -> str:
    names = roots.texts()
    if len(names) > 1:
        raise ProtocolError("no-delta", "the document holds several texts, and none is named quill: export it as json")
    if roots.kinds[names[0]] == "xml":
        raise ProtocolError("no-delta", "the document is XML, not a Quill text: export it as html, md or json")
    runs = roots.runs(names[0]) if roots.kinds[names[0]] == "text" else []
    return _dump({"ops": [_operation(run) for run in runs]})


def _operation(run: Run) -> dict[str, object]:
    content = run.content
    if isinstance(content, Element):
        content = {"xml": markup(content)}
    operation: dict[str, object] = {"insert": content if isinstance(content, str | dict) else {"value": content}}
    if run.attributes:
        operation["attributes"] = run.attributes
    return operation


def _blocks(roots: Roots) -> list[Block]:
    """The blocks of all texts that are shown; several stand under their names."""
    names = roots.texts()
    if len(names) == 1:
        return _children(roots.block(names[0]))
    blocks: list[Block] = []
    for name in names:
        title = from_delta([Run(name), Run("\n", {"header": 1})])
        blocks += [*title.blocks, *_children(roots.block(name))]
    return blocks


def _children(block: Block) -> list[Block]:
    return block.blocks or ([Block("paragraph", spans=block.spans)] if block.spans else [])


def _html(roots: Roots) -> str:
    return html_page(_blocks(roots))


def _markdown(roots: Roots) -> str:
    return markdown(_blocks(roots))


_FORMATS: Final[Mapping[str, Callable[[Roots], str]]] = {
    "json": _json,
    "text": _text,
    "delta": _delta,
    "html": _html,
    "md": _markdown,
}
