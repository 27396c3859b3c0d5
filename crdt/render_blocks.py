"""Rich text as a tree of blocks, the common form from which HTML and Markdown are written.

Two things become blocks: a Quill delta (quilljs.com/docs/delta: lines, each formatted by the attributes of its newline)
and the XML of ProseMirror and Tiptap (a node per block, marks as attributes of the text). Names are those of Tiptap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

Attributes = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Run:
    """Text, or one embedded value, as a shared text holds it, with its attributes."""

    content: object
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Element:
    """An XML node as it is stored."""

    name: str
    attributes: Attributes = field(default_factory=dict)
    children: Sequence[Element | Run] = ()


@dataclass(slots=True)
class Block:
    """A block with either `spans` (it is a line or a paragraph) or `blocks` (it contains others), or a leaf."""

    name: str
    attributes: dict[str, object] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Span:
    """Text or an inline block such as an image, with marks: `bold: True`, `link: <url>`, `color: <css>`..."""

    content: str | Block
    marks: dict[str, object] = field(default_factory=dict)


EMBED: Final = "\ufffc"
"""Object replacement character: stands for an embed in plain text."""

_NODES: Final = {
    "p": "paragraph",
    "bullet_list": "bulletList",
    "ul": "bulletList",
    "ordered_list": "orderedList",
    "ol": "orderedList",
    "list_item": "listItem",
    "li": "listItem",
    "taskItem": "listItem",
    "code_block": "codeBlock",
    "pre": "codeBlock",
    "hard_break": "hardBreak",
    "br": "hardBreak",
    "linebreak": "hardBreak",
    "horizontal_rule": "horizontalRule",
    "hr": "horizontalRule",
    "img": "image",
}
_INLINE: Final = frozenset({"hardBreak", "image", "mention", "emoji", "formula", "embed"})
_TEXT_BLOCKS: Final = frozenset({"paragraph", "heading", "codeBlock"})
_FLAGS: Final = {"strong": "bold", "b": "bold", "em": "italic", "i": "italic", "s": "strike", "u": "underline"} | {
    name: name for name in ("bold", "italic", "strike", "underline", "code")
}
_SCRIPTS: Final = {"subscript": "sub", "superscript": "super"}
_TEXT_STYLE: Final = {"color": "color", "backgroundColor": "background", "fontFamily": "font", "fontSize": "size"}
MARKS: Final = (
    "link",
    "background",
    "color",
    "size",
    "font",
    "bold",
    "italic",
    "underline",
    "strike",
    "script",
    "code",
)
"""All marks, in the order in which they are nested."""

_SCHEME: Final = re.compile(r"[^/?#]*?:")
_BLANKS: Final = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")
_LINK: Final = ("http:", "https:", "mailto:", "tel:")
_DATA_IMAGE: Final = re.compile(r"data:image/[a-z0-9.+-]+;base64,[A-Za-z0-9+/=]+", re.IGNORECASE)


def safe_link(url: object) -> str | None:
    """A link that opens a page, a mail or a call, or None.

    Blanks and control characters go first: a browser skips them inside `java\\tscript:`.
    """
    if not isinstance(url, str):
        return None
    url = _BLANKS.sub("", url)
    scheme = _SCHEME.match(url)
    return None if not url or (scheme and scheme.group().lower() not in _LINK) else url


def safe_image(url: object) -> str | None:
    """The address of an image on the web or within the address itself, or None."""
    if not isinstance(url, str):
        return None
    url = _BLANKS.sub("", url)
    return url if url.lower().startswith(("http://", "https://")) or _DATA_IMAGE.fullmatch(url) else None


def whole(value: object, least: int, most: int, default: int) -> int:
    """A whole number within bounds, from whatever a client stored."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:9])
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return default
    return int(min(max(value, least), most))


def plain_text(block: Block) -> str:
    """The text alone, a line per block."""
    if block.name == "hardBreak":
        return "\n"
    if block.blocks:
        return "\n".join(plain_text(child) for child in block.blocks)
    if block.name in _INLINE:
        return EMBED
    return "".join(span.content if isinstance(span.content, str) else plain_text(span.content) for span in block.spans)


def events(spans: Sequence[Span]) -> Iterator[tuple[str, str | Block, object]]:
    """Spans as a well-nested sequence of (`open`, mark, value), (`close`, mark, value) and (`content`, content, None).

    Marks stay open over as many spans as they can.
    """
    opened: list[tuple[str, object]] = []
    for span in spans:
        wanted = [(mark, span.marks[mark]) for mark in MARKS if mark in span.marks]
        kept = 0
        while kept < min(len(opened), len(wanted)) and opened[kept] == wanted[kept]:
            kept += 1
        while len(opened) > kept:
            yield "close", *opened.pop()
        for mark, value in wanted[kept:]:
            opened.append((mark, value))
            yield "open", mark, value
        yield "content", span.content, None
    while opened:
        yield "close", *opened.pop()


def _marks(attributes: Attributes) -> dict[str, object]:
    """Marks from the attributes of a run. y-prosemirror appends `--<hash>` to marks that may overlap themselves."""
    marks: dict[str, object] = {}
    for key, value in attributes.items():
        name = key.split("--")[0]
        if value is None or value is False:
            continue
        inner = value if isinstance(value, dict) else {}
        if name in _FLAGS:
            marks[_FLAGS[name]] = True
        elif name in _SCRIPTS:
            marks["script"] = _SCRIPTS[name]
        elif name == "script" and value in ("sub", "super"):
            marks["script"] = value
        elif name == "link":
            link = safe_link(inner.get("href", value))
            marks |= {"link": link} if link else {}
        elif name == "highlight":
            marks["background"] = inner.get("color") or "yellow"
        elif name == "textStyle":
            marks |= {mark: inner[key] for key, mark in _TEXT_STYLE.items() if inner.get(key)}
        elif name in ("color", "background", "size", "font"):
            marks[name] = value
    return marks


def _inline(run: Run) -> Span:
    """A run within a line."""
    content = run.content
    if isinstance(content, Element):
        return Span(from_xml(content), _marks(run.attributes))
    if not isinstance(content, dict):
        return Span(content if isinstance(content, str) else Block("embed"), _marks(run.attributes))
    kind, value = next(iter(content.items()), ("", None))
    if "__type" in content:  # Lexical keeps the properties of a text in a map in front of it
        return Span(Block("hardBreak") if content["__type"] == "linebreak" else "")
    if kind == "image":
        return Span(Block("image", {**run.attributes, "src": value}), _marks(run.attributes))
    if kind == "video" and safe_link(value):
        return Span(str(value), {"link": safe_link(value)})
    if kind == "formula":
        return Span(str(value), {"code": True})
    return Span(Block("embed", {"kind": kind}), _marks(run.attributes))


def from_xml(element: Element) -> Block:
    """The block of an XML node and everything in it."""
    name, attributes = _named(element)
    if not element.children:
        return Block(name, attributes)
    blocks = [child for child in element.children if isinstance(child, Element) and _named(child)[0] not in _INLINE]
    if name in _TEXT_BLOCKS or (name and not blocks):
        return Block(name, attributes, spans=_spans(element.children))
    return Block(name, attributes, blocks=_wrapped(element.children))


def _spans(children: Sequence[Element | Run]) -> list[Span]:
    return [_inline(child if isinstance(child, Run) else Run(child)) for child in children]


def _wrapped(children: Sequence[Element | Run]) -> list[Block]:
    """Children of a container; text that stands between blocks becomes paragraphs."""
    blocks: list[Block] = []
    loose: list[Span] = []
    for child in children:
        if isinstance(child, Run) or _named(child)[0] in _INLINE:
            loose += _spans([child])
            continue
        if loose:
            blocks.append(Block("paragraph", spans=loose))
            loose = []
        blocks.append(from_xml(child))
    return [*blocks, Block("paragraph", spans=loose)] if loose else blocks


def _named(element: Element) -> tuple[str, dict[str, object]]:
    """Name and attributes as Tiptap has them. Lexical and Slate keep the name in an attribute."""
    attributes = dict(element.attributes)
    name = str(attributes.get("__type") or (element.name == "text" and attributes.get("type")) or element.name)
    heading = re.fullmatch("h([1-6])", str(attributes.get("__tag") or name))
    if heading:
        return "heading", attributes | {"level": int(heading.group(1))}
    if name == "taskItem":
        attributes["checked"] = attributes.get("checked") in (True, "true")
    if "textAlign" in attributes:
        attributes["align"] = attributes["textAlign"]
    return _NODES.get(name, name), attributes


def from_delta(runs: Sequence[Run]) -> Block:
    """The blocks of a Quill text."""
    document = Block("")
    lists: list[tuple[int, Block]] = []  # (indent, list) from the outermost open one to the innermost
    for line in _lines(runs):
        kind = _list_kind(line.attributes.get("list"))
        if kind:
            _add_item(document, lists, kind, line)
            continue
        lists.clear()
        _add_line(document, line)
    return document


def _lines(runs: Sequence[Run]) -> Iterator[Block]:
    """Paragraphs, their attributes being those of the newline that ends them."""
    spans: list[Span] = []
    for run in runs:
        if isinstance(run.content, Element) or (isinstance(run.content, dict) and "video" in run.content):
            if spans:
                yield Block("paragraph", spans=spans)
                spans = []
            yield from_xml(run.content) if isinstance(run.content, Element) else Block("paragraph", {}, [_inline(run)])
            continue
        first, *rest = run.content.split("\n") if isinstance(run.content, str) else [run.content]
        spans += [_inline(Run(first, run.attributes))] if first else []
        for piece in rest:
            yield Block("paragraph", dict(run.attributes), spans)
            spans = [_inline(Run(piece, run.attributes))] if piece else []
    if spans:
        yield Block("paragraph", spans=spans)


def _list_kind(value: object) -> str:
    if value in ("checked", "unchecked"):
        return "taskList"
    return {"ordered": "orderedList", "bullet": "bulletList"}.get(str(value), "")


def _layout(attributes: Attributes) -> dict[str, object]:
    return {key: attributes[key] for key in ("align", "direction", "indent") if attributes.get(key)}


def _add_item(document: Block, lists: list[tuple[int, Block]], kind: str, line: Block) -> None:
    """Add a line to the list it belongs to: the innermost open one of its indent and kind, or a new one."""
    indent = whole(line.attributes.get("indent"), 0, 8, 0)
    while lists and (lists[-1][0] > indent or (lists[-1][0] == indent and lists[-1][1].name != kind)):
        lists.pop()
    if not lists or lists[-1][0] < indent:
        fresh = Block(kind)
        (lists[-1][1].blocks[-1] if lists else document).blocks.append(fresh)
        lists.append((indent, fresh))
    layout = _layout(line.attributes)
    layout.pop("indent", None)
    checked: dict[str, object] = {"checked": line.attributes["list"] == "checked"} if kind == "taskList" else {}
    paragraph = Block("paragraph", layout, line.spans)
    lists[-1][1].blocks.append(Block("listItem", checked, blocks=[paragraph]))


def _add_line(document: Block, line: Block) -> None:
    """Add a line that is in no list; lines of one code block or quotation follow one another."""
    attributes, layout = line.attributes, _layout(line.attributes)
    last = document.blocks[-1] if document.blocks else None
    if line.name != "paragraph":
        document.blocks.append(line)
    elif attributes.get("header"):
        level = whole(attributes["header"], 1, 6, 1)
        document.blocks.append(Block("heading", {**layout, "level": level}, line.spans))
    elif attributes.get("code-block"):
        language = attributes["code-block"]
        if last is None or last.name != "codeBlock" or last.attributes["language"] != language:
            document.blocks.append(Block("codeBlock", {"language": language}, line.spans))
        else:
            last.spans += [Span("\n"), *line.spans]
    elif attributes.get("blockquote"):
        if last is None or last.name != "blockquote":
            last = Block("blockquote")
            document.blocks.append(last)
        last.blocks.append(Block("paragraph", layout, line.spans))
    else:
        document.blocks.append(Block("paragraph", layout, line.spans))


def embed_label(block: Block) -> str:
    """What to write for an inline block that has no form of its own."""
    for key in ("label", "alt", "name", "kind"):
        if isinstance(block.attributes.get(key), str) and block.attributes[key]:
            return f"[{block.attributes[key]}]"
    return f"[{block.name}]" if block.name else ""
