"""Each format, from documents built with pycrdt: Quill texts, data, XML; and what hostile clients write."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from crdt.errors import ProtocolError
from crdt.render import render
from tests.unit.crdt.build import item, section, string, text, update

Operation = tuple[str | Mapping[str, object], dict[str, object]]

LISTS: list[Operation] = [
    ("one", {}),
    ("\n", {"list": "ordered"}),
    ("nested", {}),
    ("\n", {"list": "bullet", "indent": 1}),
    ("deep", {}),
    ("\n", {"list": "bullet", "indent": 3}),
    ("two", {}),
    ("\n", {"list": "ordered"}),
    ("done", {}),
    ("\n", {"list": "checked"}),
    ("open", {}),
    ("\n", {"list": "unchecked"}),
]


def quill(*operations: Operation, name: str = "quill") -> bytes:
    """The update of a Quill text, as y-quill would write it: every insert with exactly its attributes."""
    doc: Doc[Any] = Doc()
    shared = doc.get(name, type=Text)
    for content, attributes in reversed(operations):  # at the start nothing is inherited
        if isinstance(content, str):
            shared.insert(0, content, attributes or None)
        else:
            shared.insert_embed(0, dict(content), attributes or None)
    return doc.get_update()


def xml(*children: XmlElement | XmlText, name: str = "default") -> bytes:
    doc: Doc[Any] = Doc()
    fragment = doc.get(name, type=XmlFragment)
    for child in children:
        fragment.children.append(child)
    return doc.get_update()


def html(*updates: bytes) -> str:
    """The page behind its head."""
    return render(updates, "html").decode().split("</style>\n")[1].strip()


def md(*updates: bytes) -> str:
    return render(updates, "md").decode().strip("\n")


def plain(*updates: bytes) -> str:
    return render(updates, "text").decode()


def data(*updates: bytes) -> Any:
    return json.loads(render(updates, "json"))


def ops(*updates: bytes) -> Any:
    return json.loads(render(updates, "delta"))["ops"]


class Page(HTMLParser):
    """Collects elements and attributes as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs


# update


def test_update_is_all_updates_as_one() -> None:
    first, second = quill(("a\n", {})), quill(("b\n", {}), name="other")
    merged = render([first, second], "update")
    assert data(merged) == {"other": "b\n", "quill": "a\n"}


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ProtocolError) as caught:
        render([quill(("a", {}))], "pdf")
    assert caught.value.rule == "format"


# json


def test_json_of_all_kinds() -> None:
    doc: Doc[Any] = Doc()
    doc["list"] = Array([1, 2.5, "s", None, True, b"\x01\x02", [1, {"b": 1, "a": 2}], Map({"k": Array([1])})])
    doc["map"] = Map({"z": 1, "a": Text("text"), "big": 2**53, "huge": 1e300, "nan": float("nan")})
    doc["text"] = Text("häß😀")
    shared = doc["map"]
    shared["sub"] = Doc(guid="abc")
    shared["xml"] = XmlFragment([XmlElement("p", {"a": '"'}, [XmlText("<x>")])])
    assert data(doc.get_update()) == {
        "list": [1, 2.5, "s", None, True, {"base64": "AQI="}, [1, {"a": 2, "b": 1}], {"k": [1]}],
        "map": {
            "a": "text",
            "big": 2**53,
            "huge": 1e300,
            "nan": None,
            "sub": {"subdocument": "abc"},
            "xml": '<p a="&quot;">&lt;x&gt;</p>',
            "z": 1,
        },
        "text": "häß😀",
    }


def test_json_is_the_same_every_time() -> None:
    doc: Doc[Any] = Doc({"m": Map({chr(97 + at): {chr(122 - at): at, "a": 0} for at in range(20)})})
    rendered = {render([doc.get_update()], "json") for _ in range(5)}
    assert len(rendered) == 1
    keys = list(json.loads(rendered.pop())["m"])
    assert keys == sorted(keys)


def test_json_writes_whole_numbers_without_a_point() -> None:
    doc: Doc[Any] = Doc({"m": Map({"one": 1})})
    assert render([doc.get_update()], "json") == b'{"m": {"one": 1}}'


def test_json_of_nothing() -> None:
    assert data() == {}
    assert data(b"\x00\x00") == {}


def test_json_of_an_emptied_root_is_null() -> None:
    assert data(update(section(1, 0, item(1, b"\x02")))) == {"t": None}


def test_json_of_undefined_is_null() -> None:
    assert data(update(section(1, 0, item(8, b"\x02\x7f\x7d\x05")))) == {"t": [None, 5]}


def test_an_array_lost_nothing_to_deletes_and_many_updates() -> None:
    doc: Doc[Any] = Doc()
    shared = doc.get("a", type=Array)
    updates = []
    for number in range(200):
        before = doc.get_state()
        shared.insert(number // 2, number)
        if number % 3 == 0:
            del shared[0]
        updates.append(doc.get_update(before))
    assert data(*updates) == {"a": shared.to_py()}


# text and delta


def test_text_of_a_quill_document() -> None:
    document = quill(("Hi 😀", {"bold": True}), ({"image": "x"}, {}), ("\nend\n", {}))
    assert plain(document) == "Hi 😀\ufffc\nend\n"


def test_half_an_emoji_takes_nothing_else_with_it() -> None:
    assert plain(update(section(1, 0, string("x🎉y")), deletes={1: [(2, 1)]})) == "x\ufffdy"


def test_text_prefers_quill_then_the_only_text_then_names_them_all() -> None:
    main, notes, todo = quill(("main", {})), quill(("n", {}), name="notes"), quill(("t", {}), name="todo")
    assert plain(notes, main, todo) == "main"
    assert plain(notes) == "n"
    assert plain(todo, notes) == "notes\n\nn\n\ntodo\n\nt"


def test_text_beside_data() -> None:
    values: Doc[Any] = Doc({"settings": Map({"a": 1}), "list": Array([1])})
    assert plain(values.get_update(), quill(("n", {}), name="notes")) == "n"


@pytest.mark.parametrize("form", ["text", "delta", "html", "md"])
def test_without_text_there_is_none(form: str) -> None:
    values: Doc[Any] = Doc({"settings": Map({"a": 1})})
    for document in (values.get_update(), b"\x00\x00"):
        with pytest.raises(ProtocolError) as caught:
            render([document], form)
        assert caught.value.rule == "no-text"


def test_an_emptied_text_is_empty() -> None:
    emptied = update(section(1, 0, item(1, b"\x02")))
    assert plain(emptied) == ""
    assert ops(emptied) == []
    assert html(emptied) == ""
    assert md(emptied) == ""


def test_text_of_xml_has_a_line_per_block() -> None:
    document = xml(
        XmlElement("heading", {}, [XmlText("Title")]),
        XmlElement("bulletList", {}, [XmlElement("listItem", {}, [XmlElement("paragraph", {}, [XmlText("a")])])]),
        XmlElement("paragraph"),
        XmlElement("paragraph", {}, [XmlText("b"), XmlElement("hardBreak"), XmlText("c"), XmlElement("image")]),
    )
    assert plain(document) == "Title\na\n\nb\nc\ufffc"


def test_delta() -> None:
    document = quill(
        ("a", {"bold": True, "link": "https://x"}), ({"image": "data:x"}, {"width": 5}), ("\n", {"header": 1})
    )
    assert ops(document) == [
        {"insert": "a", "attributes": {"bold": True, "link": "https://x"}},
        {"insert": {"image": "data:x"}, "attributes": {"width": 5}},
        {"insert": "\n", "attributes": {"header": 1}},
    ]


def test_delta_of_a_nested_type() -> None:
    doc: Doc[Any] = Doc()
    shared = doc.get("quill", type=Text)
    shared.insert(0, "a")
    shared.insert_embed(1, Map({"k": 1}))
    shared.insert_embed(2, Array([1]))
    assert ops(doc.get_update()) == [{"insert": "a"}, {"insert": {"k": 1}}, {"insert": {"value": [1]}}]


def test_no_delta_of_xml_or_of_several_texts() -> None:
    for documents in ([xml(XmlElement("p"))], [quill(("a", {}), name="a"), quill(("b", {}), name="b")]):
        with pytest.raises(ProtocolError) as caught:
            render(documents, "delta")
        assert caught.value.rule == "no-delta"


# html and md of a Quill text


@pytest.mark.parametrize(
    ("attributes", "as_html", "as_md"),
    [
        ({"bold": True}, "<strong>a</strong>", "**a**"),
        ({"italic": True}, "<em>a</em>", "*a*"),
        ({"underline": True}, "<u>a</u>", "<u>a</u>"),
        ({"strike": True}, "<s>a</s>", "~~a~~"),
        ({"code": True}, "<code>a</code>", "`a`"),
        ({"script": "sub"}, "<sub>a</sub>", "<sub>a</sub>"),
        ({"script": "super"}, "<sup>a</sup>", "<sup>a</sup>"),
        ({"color": "#f00"}, '<span style="color: #f00">a</span>', "a"),
        ({"background": "rgb(1, 2, 3)"}, '<span style="background-color: rgb(1, 2, 3)">a</span>', "a"),
        ({"size": "huge"}, '<span style="font-size: 2.5em">a</span>', "a"),
        ({"font": "serif"}, '<span style="font-family: serif">a</span>', "a"),
        ({"bold": True, "italic": True}, "<strong><em>a</em></strong>", "***a***"),
        ({"bold": False, "italic": None}, "a", "a"),
    ],
)
def test_marks(attributes: dict[str, object], as_html: str, as_md: str) -> None:
    document = quill(("a", attributes), ("\n", {}))
    assert html(document) == f"<p>{as_html}</p>"
    assert md(document) == as_md


@pytest.mark.parametrize(
    ("attributes", "as_html", "as_md"),
    [
        ({}, "<p>a</p>", "a"),
        ({"header": 3}, "<h3>a</h3>", "### a"),
        ({"header": 99}, "<h6>a</h6>", "###### a"),
        ({"blockquote": True}, "<blockquote><p>a</p></blockquote>", "> a"),
        ({"code-block": "python"}, '<pre data-language="python"><code>a</code></pre>', "```python\na\n```"),
        ({"code-block": True}, "<pre><code>a</code></pre>", "```\na\n```"),
        ({"align": "right"}, '<p style="text-align: right">a</p>', "a"),
        ({"align": "x; y"}, "<p>a</p>", "a"),
        ({"indent": 2}, '<p style="padding-left: 6em">a</p>', "a"),
        ({"direction": "rtl"}, '<p dir="rtl">a</p>', "a"),
    ],
)
def test_lines(attributes: dict[str, object], as_html: str, as_md: str) -> None:
    document = quill(("a", {}), ("\n", attributes))
    assert html(document) == as_html
    assert md(document) == as_md


def test_lists() -> None:
    document = quill(*LISTS)
    assert html(document) == (
        "<ol><li>one<ul><li>nested<ul><li>deep</li></ul></li></ul></li><li>two</li></ol>\n"
        '<ul><li><input type="checkbox" disabled checked> done</li>'
        '<li><input type="checkbox" disabled> open</li></ul>'
    )
    assert md(document) == "1. one\n   - nested\n     - deep\n2. two\n\n- [x] done\n- [ ] open"


def test_lists_that_are_apart_stay_apart() -> None:
    document = quill(("a", {}), ("\n", {"list": "bullet"}), ("\n", {}), ("b", {}), ("\n", {"list": "bullet"}))
    assert html(document) == "<ul><li>a</li></ul>\n<p><br></p>\n<ul><li>b</li></ul>"
    assert md(document) == "- a\n\n<!-- -->\n\n- b"


def test_lines_of_one_code_block_or_quotation_belong_together() -> None:
    code: dict[str, object] = {"code-block": "plain"}
    quote: dict[str, object] = {"blockquote": True}
    document = quill(("x", {}), ("\n", code), ("  ```", {}), ("\n", code), ("p", {}), ("\n", quote), ("\n", quote))
    assert html(document) == "<pre><code>x\n  ```</code></pre>\n<blockquote><p>p</p><p><br></p></blockquote>"
    assert md(document) == "````\nx\n  ```\n````\n\n> p"


def test_embeds() -> None:
    document = quill(
        ({"image": "https://x/y.png"}, {"alt": "a<b", "width": "40"}),
        ({"formula": "a^2"}, {}),
        ({"mention": {"id": 1}}, {}),
        ("\n", {}),
        ({"video": "https://v/1"}, {}),
        ("after\n", {}),
    )
    assert html(document) == (
        '<p><img src="https://x/y.png" alt="a&lt;b" width="40"><code>a^2</code>'
        '<span data-node="embed">[mention]</span></p>\n'
        '<p><a href="https://v/1" rel="noopener noreferrer nofollow">https://v/1</a></p>\n<p>after</p>'
    )
    assert md(document) == "![a\\<b](https://x/y.png)`a^2`\\[mention\\]\n\n[https://v/1](https://v/1)\n\nafter"


def test_marks_that_overlap() -> None:
    both: dict[str, object] = {"bold": True, "italic": True}
    document = quill(("so ", {"bold": True}), ("very", both), ("much", {"italic": True}), (" plain\n", {}))
    assert html(document) == "<p><strong>so <em>very</em></strong><em>much</em> plain</p>"
    assert md(document) == "**so *very***<!-- -->*much* plain"


def test_blanks_at_the_edge_are_not_marked_in_markdown() -> None:
    assert md(quill(("a", {}), (" b ", {"bold": True}), ("c\n", {}))) == "a **b** c"
    assert md(quill(("a", {"bold": True}), (" ", {}), ("c\n", {"bold": True}))) == "**a c**"


def test_code_with_backticks_and_in_two_colours() -> None:
    document = quill(("a`b", {"code": True}), ("`", {"code": True, "color": "red"}), ("\n", {}))
    assert md(document) == "`` a`b` ``"


def test_several_texts_stand_under_their_names() -> None:
    first, second = quill(("x\n", {}), name="b<c"), xml(XmlElement("paragraph", {}, [XmlText("y")]), name="a")
    assert html(first, second) == "<h1>a</h1>\n<p>y</p>\n<h1>b&lt;c</h1>\n<p>x</p>"
    assert md(first, second) == "# a\n\ny\n\n# b\\<c\n\nx"


def test_emoji_and_other_scripts() -> None:
    document = quill(("👩‍👩‍👧 שלום 漢字", {"bold": True}), ("\n", {"header": 1}))
    assert html(document) == "<h1><strong>👩‍👩‍👧 שלום 漢字</strong></h1>"
    assert md(document) == "# **👩‍👩‍👧 שלום 漢字**"


# hostile content

_SCRIPT = "</style></code><script>alert(1)</script>\"' onload=x"


def test_whatever_stands_in_a_quill_text_is_text() -> None:
    document = quill(
        (_SCRIPT, dict.fromkeys(("color", "background", "size", "font", "script", "bold", "link"), _SCRIPT)),
        ({"image": _SCRIPT}, {"alt": _SCRIPT, "width": _SCRIPT, "onerror": "x"}),
        ({"image": "https://x/\"'><script>"}, {"alt": _SCRIPT, "width": _SCRIPT, "onerror": "x"}),
        ({"formula": _SCRIPT}, {}),
        ({_SCRIPT: _SCRIPT}, {}),
        (_SCRIPT, {}),
        ("\n", {"align": _SCRIPT, "direction": _SCRIPT, "header": _SCRIPT, "indent": _SCRIPT}),
        (_SCRIPT, {}),
        ("\n", {"code-block": _SCRIPT}),
        (_SCRIPT, {}),
        ("\n", {"list": _SCRIPT}),
    )
    page = Page(html(document))
    assert page.tags <= {"h1", "p", "a", "strong", "span", "img", "code", "pre"}
    assert {name for name, _ in page.attributes} <= {"href", "rel", "src", "alt", "data-language", "data-node"}
    prose = re.sub(r"```.*?\n```|`.*?`", "", md(document), flags=re.DOTALL)  # code is literal in Markdown
    assert "script" in prose
    assert re.search(r"(?<!\\)<", prose) is None


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        " JavaScript:alert(1)",
        "java\tscript:alert(1)",
        "\x01javascript:alert(1)",
        "java\nscript:alert(1)",
        "vbscript:x",
        "data:text/html,<script>alert(1)</script>",
        "file:///etc/passwd",
        "",
        5,
        {"href": "javascript:alert(1)"},
    ],
)
def test_hostile_links_are_no_links(link: object) -> None:
    document = quill(("text", {"link": link}), ({"image": link}, {}), ({"video": link}, {}), ("\n", {}))
    assert Page(html(document)).tags <= {"p", "span", "br"}
    assert "](" not in md(document)
    assert "text" in md(document)


@pytest.mark.parametrize(
    ("link", "in_markdown"),
    [
        ("https://a.b/c?d=1&e=(2)", "https://a.b/c?d=1&amp;e=%282%29"),
        ("http://a/ü", "http://a/ü"),
        ("mailto:a@b.c", "mailto:a@b.c"),
        ("tel:+123", "tel:+123"),
        ("/page#part:1", "/page#part:1"),
        ("page?x=a:b", "page?x=a:b"),
        ("javascript&colon;alert(1)", "javascript&amp;colon;alert%281%29"),
    ],
)
def test_good_links(link: str, in_markdown: str) -> None:
    document = quill(("text", {"link": link}), ("\n", {}))
    assert ("href", link) in Page(html(document)).attributes
    assert md(document) == f"[text]({in_markdown})"


def test_images_within_the_address() -> None:
    good, bad = "data:image/png;base64,AAAA", "data:text/html;base64,AAAA"
    assert f'<img src="{good}" alt="">' in html(quill(({"image": good}, {}), ("\n", {})))
    assert html(quill(({"image": bad}, {}), ("\n", {}))) == "<p>[image]</p>"


@pytest.mark.parametrize(
    ("line", "in_markdown"),
    [
        ("# a", "\\# a"),
        ("- a", "\\- a"),
        ("+ a", "\\+ a"),
        ("12. a", "12\\. a"),
        ("3) a", "3\\) a"),
        ("===", "\\==="),
        ("    a", "&nbsp;&nbsp;&nbsp;&nbsp;a"),
        ("> a", "\\> a"),
        ("*a* _b_ `c` ~~d~~", "\\*a\\* \\_b\\_ \\`c\\` \\~\\~d\\~\\~"),
        ("[a](b) <i> &lt; | \\", "\\[a\\](b) \\<i\\> \\&lt; \\| \\\\"),
        ("a\u2028# b", "a\\\n\\# b"),
    ],
)
def test_text_that_looks_like_markdown(line: str, in_markdown: str) -> None:
    assert md(quill((line + "\n", {}))) == in_markdown


# XML


def tiptap() -> bytes:
    """A document as Tiptap's collaboration extension stores it."""
    linked = XmlText("linked")
    bold = XmlText("bold italic")
    item_of = [XmlElement("paragraph", {}, [XmlText(name)]) for name in ("one", "two", "inner", "done")]
    inner = XmlElement("bulletList", {}, [XmlElement("listItem", {}, [item_of[2]])])
    update_ = xml(
        XmlElement("heading", {"level": "2"}, [XmlText("Title")]),
        XmlElement("paragraph", {"textAlign": "center"}, [bold, XmlElement("hardBreak"), linked]),
        XmlElement(
            "orderedList",
            {"start": "3"},
            [XmlElement("listItem", {}, [item_of[0], inner]), XmlElement("listItem", {}, [item_of[1]])],
        ),
        XmlElement("taskList", {}, [XmlElement("taskItem", {"checked": "true"}, [item_of[3]])]),
        XmlElement("blockquote", {}, [XmlElement("paragraph", {}, [XmlText("q")])]),
        XmlElement("codeBlock", {"language": "js"}, [XmlText("a < b\n  c")]),
        XmlElement("horizontalRule"),
        XmlElement("image", {"src": "https://x/y.png", "alt": "alt"}),
    )
    doc: Doc[Any] = Doc()
    doc.apply_update(update_)
    paragraph = list(doc.get("default", type=XmlFragment).children)[1]
    assert isinstance(paragraph, XmlElement)
    first, _, last = paragraph.children
    assert isinstance(first, XmlText)
    assert isinstance(last, XmlText)
    first.format(0, 4, {"bold": {}})
    first.format(5, 11, {"italic--a1b2c3d4": {}})
    last.format(0, 6, {"link": {"href": "https://x", "target": "_blank"}, "textStyle": {"color": "red"}})
    return doc.get_update()


def test_html_of_tiptap() -> None:
    assert html(tiptap()).split("\n") == [
        "<h2>Title</h2>",
        '<p style="text-align: center"><strong>bold</strong> <em>italic</em><br>'
        '<a href="https://x" rel="noopener noreferrer nofollow"><span style="color: red">linked</span></a></p>',
        '<ol start="3"><li>one<ul><li>inner</li></ul></li><li>two</li></ol>',
        '<ul><li><input type="checkbox" disabled checked> done</li></ul>',
        "<blockquote><p>q</p></blockquote>",
        '<pre data-language="js"><code>a &lt; b',
        "  c</code></pre>",
        "<hr>",
        '<p><img src="https://x/y.png" alt="alt"></p>',
    ]


def test_markdown_of_tiptap() -> None:
    assert md(tiptap()).split("\n\n") == [
        "## Title",
        "**bold** *italic*\\\n[linked](https://x)",
        "3. one\n   - inner\n4. two",
        "- [x] done",
        "> q",
        "```js\na < b\n  c\n```",
        "---",
        "![alt](https://x/y.png)",
    ]


def test_markup_of_xml_in_json() -> None:
    assert data(xml(XmlElement("p", {"b": "2", "a": "<"}, [XmlText("x & y")]), name="x")) == {
        "x": '<p a="&lt;" b="2">x &amp; y</p>'
    }
    marked = data(tiptap())["default"]
    assert '<link href="https://x" target="_blank"><textStyle color="red">linked</textStyle></link>' in marked


def test_hostile_xml() -> None:
    document = xml(
        XmlElement("script", {"src": "https://evil"}, [XmlText("alert(1)")]),
        XmlElement('x onload="y"', {"onclick": "x", 'a"><script>': "y"}, [XmlText("<script>")]),
        XmlElement("paragraph", {}, [XmlText("a"), XmlElement("iframe", {"src": "https://evil"})]),
        XmlElement("image", {"src": "javascript:x", "alt": "<b>"}),
    )
    for page in (Page(html(document)), Page(data(document)["default"])):
        assert not any(name.startswith("on") and name != "onclick" for name, _ in page.attributes)
    page = Page(html(document))
    assert page.tags == {"div", "p", "span"}
    assert {name for name, _ in page.attributes} == {"data-node"}
    assert re.search(r"(?<!\\)<", md(document)) is None


def test_text_between_blocks_becomes_a_paragraph() -> None:
    document = xml(XmlText("loose"), XmlElement("paragraph", {}, [XmlText("p")]), XmlElement("other"))
    assert html(document) == '<p>loose</p>\n<p>p</p>\n<div data-node="other"></div>'


def test_texts_within_a_text_are_its_blocks() -> None:
    """As Lexical and Slate store a document."""
    kind = item(8, b"\x01\x77" + text("heading"), parent=(1, 1), sub="__type")
    tag = item(8, b"\x01\x77" + text("h2"), parent=(1, 1), sub="__tag")
    document = update(
        section(
            1, 0, string("\n", parent="root"), item(7, b"\x06", left=(1, 0)), kind, tag, string("hi", parent=(1, 1))
        )
    )
    assert html(document) == "<p><br></p>\n<h2>hi</h2>"
    assert plain(document) == "\nhi"


def test_nesting_beyond_measure_is_an_error() -> None:
    structs = [item(7, b"\x03\x01p", parent="x")]
    structs += [item(7, b"\x03\x01p", parent=(1, at)) for at in range(2000)]
    for form in ("json", "text", "html", "md"):
        with pytest.raises(ProtocolError) as caught:
            render([update(section(1, 0, *structs))], form)
        assert caught.value.rule == "depth"


def test_what_the_engine_cannot_read_is_a_protocol_error() -> None:
    confused = update(section(1, 0, string("a", parent="t")), section(2, 0, string("b", parent=(1, 0))))
    with pytest.raises(ProtocolError) as caught:
        render([confused], "json")
    assert caught.value.rule == "render"


def test_an_invalid_update_is_refused_by_its_rule() -> None:
    with pytest.raises(ProtocolError) as caught:
        render([b"\x01\x00"], "json")
    assert caught.value.rule != "render"
