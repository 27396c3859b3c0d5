"""Markdown of a document: CommonMark with GitHub's task lists and strike-through; colours, sizes and fonts are dropped.

What clients wrote is text: every character that could begin markup or HTML is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from crdt.render_blocks import MARKS, Block, Span, embed_label, events, plain_text, safe_image, whole

_SPECIAL: Final = re.compile(r"[\\`*_\[\]<>~|&]")
_LINE_START: Final = re.compile(r"^([#+=-])|^([0-9]{1,9})([.)])")
_EDGES: Final = re.compile(r"(\s*)(.*?)(\s*)", re.DOTALL)
_IN_URL: Final = re.compile(r"[\s()<>\\\"'`*\[\]|^{}]")
_NOT_A_LANGUAGE: Final = re.compile(r"[^\w+#.-]", re.ASCII)
_SIGNS: Final = {"bold": "**", "italic": "*", "strike": "~~"}
_APART: Final = "<!-- -->"
"""Parts two marks, or two lists, that would be read as one."""
_KEPT: Final = frozenset({"link", "bold", "italic", "underline", "strike", "script", "code"})


def markdown(blocks: Sequence[Block]) -> str:
    """The blocks as Markdown, ending with a newline."""
    return "\n".join(_join(blocks)) + "\n"


def _join(blocks: Sequence[Block], tight: bool = False) -> list[str]:
    """The lines of blocks, an empty line between two of them; within a tight list item a list follows directly."""
    out: list[str] = []
    before = ""
    for block in blocks:
        lines = _block(block)
        if not lines:
            continue
        if out and not (tight and _is_list(block)):
            out.append("")
            if _is_list(block) and block.name == before:
                out += [_APART, ""]
        out += lines
        before = block.name
    return out


def _is_list(block: Block) -> bool:
    return block.name in ("bulletList", "orderedList", "taskList")


def _block(block: Block) -> list[str]:
    name = block.name
    if name == "heading":
        text = re.sub(r"#$", r"\\#", " ".join(_inline(block.spans).split()))
        return [f"{'#' * whole(block.attributes.get('level'), 1, 6, 1)} {text}"] if text else []
    if name == "codeBlock":
        return _fenced(block)
    if name == "horizontalRule":
        return ["---"]
    if name == "image":
        return [_image(block)]
    if name == "blockquote":
        return [f"> {line}".rstrip() for line in _join(block.blocks) or _lines(block.spans)]
    if _is_list(block):
        return _list(block)
    return _join(block.blocks, tight=name == "listItem") if block.blocks else _lines(block.spans)


def _fenced(block: Block) -> list[str]:
    text = plain_text(block)
    fence = "`" * (max([2, *map(len, re.findall("`+", text))]) + 1)
    language = block.attributes.get("language")
    label = _NOT_A_LANGUAGE.sub("", language) if isinstance(language, str) and language != "plain" else ""
    return [fence + label, *re.split(r"\r\n|\r|\n", text), fence]


def _list(block: Block) -> list[str]:
    out: list[str] = []
    number = whole(block.attributes.get("start"), 0, 999_999_999, 1)
    for item in block.blocks:
        marker = f"{number}. " if block.name == "orderedList" else "- "
        number += 1
        box = "" if "checked" not in item.attributes else "[x] " if item.attributes["checked"] is True else "[ ] "
        first, *rest = _block(item) or [""]
        out.append((marker + box + first).rstrip())
        out += [(" " * len(marker) + line).rstrip() for line in rest]
    return out


def _lines(spans: Sequence[Span]) -> list[str]:
    """The text of a paragraph. A line break in it is written as a backslash at the end of the line."""
    text = _inline(spans)
    lines = [
        _line_start(line.rstrip()) for line in re.split(r"\r\n|[\r\n\v\f\x85\u2028\u2029]", text.lstrip("\n").rstrip())
    ]
    return [line + "\\" for line in lines[:-1]] + lines[-1:] if any(lines) else []


def _line_start(line: str) -> str:
    """Keep a line from being read as a heading, an item of a list or, for its indentation, code."""
    text = line.lstrip(" \t")
    return "&nbsp;" * (len(line) - len(text)) + _LINE_START.sub(_escape_start, text)


def _escape_start(match: re.Match[str]) -> str:
    sign, number, dot = match.groups()
    return f"\\{sign}" if sign else f"{number}\\{dot}"


def _inline(spans: Sequence[Span]) -> str:
    out: list[str] = []
    code = False
    closed = ""
    for event, what, value in events(_joined(_trimmed(spans))):
        if event == "open" and closed in _SIGNS and what in _SIGNS:
            out.append(_APART)
        closed = what if event == "close" and isinstance(what, str) else ""
        if isinstance(what, Block):
            out.append(_leaf(what))
        elif event == "content":
            out.append(_code(what) if code else _text(what))
        elif what == "code":
            code = event == "open"
        else:
            out.append(_mark(what, value, event == "open"))
    return "".join(out)


def _mark(mark: str, value: object, opening: bool) -> str:
    if mark == "link":
        return "[" if opening else f"]({_url(str(value))})"
    if mark in _SIGNS:
        return _SIGNS[mark]
    tag = "u" if mark == "underline" else "sub" if value == "sub" else "sup"
    return f"<{tag}>" if opening else f"</{tag}>"


def _text(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)


def _code(text: str) -> str:
    text = re.sub(r"\s", " ", text)
    fence = "`" * (max([0, *map(len, re.findall("`+", text))]) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return fence + pad + text + pad + fence


def _trimmed(spans: Sequence[Span]) -> list[Span]:
    """Cut blanks off the ends of marked text: `**so **` is not bold. A link or code keeps the blanks inside."""
    out: list[Span] = []
    for span in spans:
        marks = {mark: value for mark, value in span.marks.items() if mark in _KEPT}
        if not isinstance(span.content, str) or "code" in marks:
            out.append(Span(span.content, marks))
            continue
        match = _EDGES.fullmatch(span.content)
        before, text, after = match.groups() if match else ("", span.content, "")
        out += [Span(before), Span(text, marks), Span(after)]
    out = _joined([span for span in out if span.content != ""])
    for at in range(1, len(out) - 1):
        content = out[at].content
        if isinstance(content, str) and not content.strip() and not out[at].marks:
            out[at] = Span(content, _shared(out[at - 1].marks, out[at + 1].marks))
    return out


def _shared(before: dict[str, object], after: dict[str, object]) -> dict[str, object]:
    """The marks that stay open between two texts: those in which their nesting agrees."""
    shared: dict[str, object] = {}
    for mark in MARKS:
        if before.get(mark) != after.get(mark) or mark == "code":
            break
        if mark in before:
            shared[mark] = before[mark]
    return shared


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Texts of the same marks become one: two pieces of code side by side would not be read as code."""
    out: list[Span] = []
    for span in spans:
        last = out[-1] if out else None
        if last and last.marks == span.marks and isinstance(last.content, str) and isinstance(span.content, str):
            out[-1] = Span(last.content + span.content, span.marks)
        else:
            out.append(span)
    return out


def _leaf(block: Block) -> str:
    if block.name == "hardBreak":
        return "\n"
    if block.name == "image":
        return _image(block)
    return _inline(block.spans) or "".join(map(_leaf, block.blocks)) or _text(embed_label(block))


def _image(block: Block) -> str:
    source = safe_image(block.attributes.get("src"))
    if not source:
        return _text(embed_label(block))
    alternative = re.sub(r"\s+", " ", str(block.attributes.get("alt") or ""))
    return f"![{_text(alternative)}]({_url(source)})"


def _url(url: str) -> str:
    """A link's target: nothing that could end it, and no entity, which a reader would decode after our check."""
    return _IN_URL.sub(lambda match: quote(match.group(), safe=""), url).replace("&", "&amp;")
