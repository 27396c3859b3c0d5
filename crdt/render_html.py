"""HTML of a document. Whatever clients wrote, the page runs nothing and loads nothing but images.

Every text and attribute is escaped, element names come from a fixed set (others are kept in `data-node`), links and
styles are checked; the content security policy in the page is the second line of defence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from typing import Final

from crdt.render_blocks import (
    Attributes,
    Block,
    Element,
    Run,
    Span,
    embed_label,
    events,
    plain_text,
    safe_image,
    whole,
)

_HEAD: Final = """<!DOCTYPE html>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src http: https: data:; style-src 'unsafe-inline'">
<style>p, li, h1, h2, h3, h4, h5, h6 { white-space: pre-wrap }</style>
"""
_CONTAINERS: Final = {
    "blockquote": "blockquote",
    "bulletList": "ul",
    "orderedList": "ol",
    "taskList": "ul",
    "listItem": "li",
    "table": "table",
    "tableRow": "tr",
    "tableCell": "td",
    "tableHeader": "th",
}
_MARKS: Final = {"bold": "strong", "italic": "em", "underline": "u", "strike": "s", "code": "code"}
_STYLES: Final = {"color": "color", "background": "background-color", "size": "font-size", "font": "font-family"}
_SIZES: Final = {"small": "0.75em", "large": "1.5em", "huge": "2.5em"}
_COLOR: Final = re.compile(r"#[0-9a-fA-F]{3,8}|[a-zA-Z]{3,24}|(rgb|hsl)a?\([0-9., %/deg]{1,60}\)")
_SIZE: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4})?(px|pt|em|rem|%)")
_FONT: Final = re.compile(r"[\w ,-]{1,80}", re.ASCII)
_NOT_A_NAME: Final = re.compile(r"[^\w.-]|^(?![A-Za-z_])", re.ASCII)


def html_page(blocks: Sequence[Block]) -> str:
    """A page of the blocks."""
    return _HEAD + "".join(_block(block) + "\n" for block in blocks)


def markup(node: Element | Run) -> str:
    """XML as it is stored, marks as elements around their text (like `toString` of Yjs, but escaped)."""
    if isinstance(node, Run):
        inner = _content(node.content)
        for name, value in reversed(list(node.attributes.items())):
            attributes = value if isinstance(value, dict) else {} if value is True else {"value": value}
            inner = f"<{_name(name)}{_all(attributes)}>{inner}</{_name(name)}>"
        return inner
    inner = "".join(markup(child) for child in node.children)
    return f"<{_name(node.name)}{_all(node.attributes)}>{inner}</{_name(node.name)}>" if node.name else inner


def _content(content: object) -> str:
    if isinstance(content, Element):
        return markup(content)
    return escape(content) if isinstance(content, str) else f"<embed{_all({'value': content})}></embed>"


def _name(name: str) -> str:
    """A name that may stand in markup."""
    return _NOT_A_NAME.sub("_", name) or "_"


def _all(attributes: Attributes) -> str:
    return "".join(f' {_name(key)}="{escape(_value(value))}"' for key, value in attributes.items())


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _block(block: Block) -> str:
    name, style = block.name, _layout(block.attributes)
    if name == "paragraph":
        return f"<p{style}>{_line(block.spans)}</p>"
    if name == "heading":
        level = whole(block.attributes.get("level"), 1, 6, 1)
        return f"<h{level}{style}>{_line(block.spans)}</h{level}>"
    if name == "codeBlock":
        return f"<pre{_language(block)}><code>{escape(plain_text(block))}</code></pre>"
    if name == "horizontalRule":
        return "<hr>"
    if name == "image":
        return f"<p>{_leaf(block)}</p>"
    if name == "listItem":
        return f"<li{style}>{_checkbox(block)}{_item(block)}</li>"
    inner = "".join(_block(child) for child in block.blocks) or _spans(block.spans)
    if name in _CONTAINERS:
        tag = _CONTAINERS[name]
        return f"<{tag}{style}{_numbers(block)}>{inner}</{tag}>"
    return f'<div data-node="{escape(name)}"{style}>{inner}</div>' if name else inner


def _item(block: Block) -> str:
    """What stands in a list item; its first paragraph needs no tag."""
    if not block.blocks:
        return _line(block.spans)
    first, *rest = block.blocks
    plain = first.name == "paragraph" and not _layout(first.attributes)
    return (_line(first.spans) if plain else _block(first)) + "".join(_block(child) for child in rest)


def _checkbox(block: Block) -> str:
    if "checked" not in block.attributes:
        return ""
    return f'<input type="checkbox" disabled{" checked" if block.attributes["checked"] is True else ""}> '


def _numbers(block: Block) -> str:
    """Where a list starts, and how far a table's cell reaches."""
    found = ""
    for key in ("start", "colspan", "rowspan"):
        number = whole(block.attributes.get(key), 0, 10_000, 1)
        found += f' {key}="{number}"' if number != 1 else ""
    return found


def _language(block: Block) -> str:
    language = str(block.attributes.get("language") or "")
    return f' data-language="{escape(language)}"' if language not in ("", "True", "plain") else ""


def _layout(attributes: Attributes) -> str:
    styles = []
    if attributes.get("align") in ("left", "center", "right", "justify"):
        styles.append(f"text-align: {attributes['align']}")
    indent = whole(attributes.get("indent"), 0, 8, 0)
    if indent:
        styles.append(f"padding-left: {indent * 3}em")
    direction = ' dir="rtl"' if attributes.get("direction") == "rtl" else ""
    return direction + (f' style="{"; ".join(styles)}"' if styles else "")


def _line(spans: Sequence[Span]) -> str:
    """A line; without anything in it, it needs a break to have a height."""
    return _spans(spans) or "<br>"


def _spans(spans: Sequence[Span]) -> str:
    out: list[str] = []
    for event, what, value in events(spans):
        if isinstance(what, Block):
            out.append(_leaf(what))
        elif event == "content":
            out.append(escape(what))
        else:
            opening, closing = _mark(what, value)
            out.append(opening if event == "open" else closing)
    return "".join(out)


def _mark(mark: str, value: object) -> tuple[str, str]:
    if mark in _MARKS:
        return f"<{_MARKS[mark]}>", f"</{_MARKS[mark]}>"
    if mark == "link":
        return f'<a href="{escape(str(value))}" rel="noopener noreferrer nofollow">', "</a>"
    if mark == "script":
        return ("<sub>", "</sub>") if value == "sub" else ("<sup>", "</sup>")
    css = _css(mark, value)
    return (f'<span style="{_STYLES[mark]}: {css}">', "</span>") if css else ("", "")


def _css(mark: str, value: object) -> str:
    """A value that can only be what it claims to be, or nothing."""
    text = str(value).strip()
    if mark == "size":
        text = _SIZES.get(text, text)
    allowed = {"size": _SIZE, "font": _FONT}.get(mark, _COLOR)
    return text if allowed.fullmatch(text) else ""


def _leaf(block: Block) -> str:
    """A block within a line."""
    if block.name == "hardBreak":
        return "<br>"
    if block.name == "image":
        source = safe_image(block.attributes.get("src"))
        return f'<img src="{escape(source)}"{_image_attributes(block)}>' if source else escape(embed_label(block))
    inner = _spans(block.spans) or "".join(_leaf(child) for child in block.blocks) or escape(embed_label(block))
    return f'<span data-node="{escape(block.name)}">{inner}</span>'


def _image_attributes(block: Block) -> str:
    found = f' alt="{escape(str(block.attributes.get("alt") or ""))}"'
    for key in ("width", "height"):
        number = whole(block.attributes.get(key), 0, 10_000, 0)
        found += f' {key}="{number}"' if number else ""
    return found
