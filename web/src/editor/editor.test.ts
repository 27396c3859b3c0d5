import { describe, expect, it } from "vitest";
import * as Y from "yjs";
import Delta from "quill-delta";
import { changeEnd } from "./changes";
import { emojiAfter, emojiBefore } from "./clusters";
import { outgoing } from "./outgoing";
import { pageOf } from "./reconcile";
import { IMAGE_LIMIT, imageProblem, safeImage, safeLink } from "./safe";
import { tame, UNSUPPORTED, type AnyOp } from "./tame";

describe("emoji", () => {
  it.each([
    ["x👨‍👩‍👧‍👦", "👨‍👩‍👧‍👦".length],
    ["ok 👍🏽", 4],
    ["🇨🇭🇫🇷", 4],
    ["1️⃣", 3],
    ["❤️‍🔥", 5],
    ["plain", 0],
    ["😀", 0],
    ["e\u0301\u0302\u0303", 0],
    ["नमस्ते", 0],
    ["", 0],
  ])("%s ends with one of length %i", (text, length) => {
    expect(emojiBefore(text)).toBe(length);
  });

  it("finds them after the caret as well", () => {
    expect(emojiAfter("👩🏾‍🚀 up")).toBe("👩🏾‍🚀".length);
    expect(emojiAfter("a👩🏾‍🚀")).toBe(0);
    expect(emojiAfter("")).toBe(0);
  });
});

describe("tame", () => {
  it("keeps what the editor knows", () => {
    const ops = [
      { insert: "text", attributes: { bold: true, header: 2 } },
      { insert: { image: "https://x/y.png" } },
      { retain: 4, attributes: { header: null } },
      { delete: 2 },
    ];
    expect(tame(ops)).toEqual(ops);
  });

  it.each([
    [{ video: "https://x" }, "video"],
    [{ image: 5 }, "image"],
    [{}, "element"],
    [{ image: "https://x", extra: 1 }, "image"],
    [{ toString: "x" }, "toString"],
    [["a"], "element"],
    [new Y.Map(), "element"],
    [new Y.XmlElement("table"), "element"],
  ])("shows the embed %# as a placeholder of length one", (insert, name) => {
    expect(tame([{ insert }])).toEqual([{ insert: { [UNSUPPORTED]: name } }]);
  });

  it.each([99, "x", {}, [], -1])("drops the heading %j", (header) => {
    expect(tame([{ insert: "\n", attributes: { header, bold: true } }])).toEqual([
      { insert: "\n", attributes: { header: false, bold: true } },
    ]);
  });
});

describe("a change", () => {
  it("ends where it last did something", () => {
    expect(changeEnd(new Delta().retain(2).insert("abc").retain(4).delete(1))).toBe(9);
    expect(changeEnd(new Delta().insert({ image: "x" }).retain(9))).toBe(1);
    expect(changeEnd(new Delta().retain(2, { bold: true }))).toBe(2);
    expect(changeEnd(new Delta())).toBe(0);
  });

  it("goes out with whole characters, and with one kind of line where a kind is set", () => {
    const change = new Delta().retain(3, { bold: true }).retain(1, { list: "bullet", indent: 1 }).insert("\n", { header: 1 });
    expect(outgoing(change).ops).toEqual([
      { retain: 3, attributes: { bold: true } },
      { retain: 1, attributes: { list: "bullet", indent: 1, header: null, blockquote: null, "code-block": null } },
      { insert: "\n", attributes: { header: 1 } },
    ]);
    expect(outgoing(new Delta().insert("a\ud83d").insert("\ude00😀", { bold: true })).ops).toEqual([
      { insert: "a\ufffd" },
      { insert: "\ufffd😀", attributes: { bold: true } },
    ]);
    const off = new Delta().retain(1, { list: null });
    expect(outgoing(off).ops).toEqual(off.ops);
  });
});

describe("the page of a text", () => {
  it("ends with a line break", () => {
    expect(pageOf([]).ops).toEqual([{ insert: "\n" }]);
    expect(pageOf([{ insert: "a" }]).ops).toEqual([{ insert: "a\n" }]);
    expect(pageOf([{ insert: "a\n" }]).ops).toEqual([{ insert: "a\n" }]);
    expect(pageOf([{ insert: { image: "https://x" } }]).ops).toEqual([{ insert: { image: "https://x" } }, { insert: "\n" }]);
  });

  it("shows one kind of line where a text has several, whatever their order", () => {
    const one = pageOf([{ insert: "\n", attributes: { header: "2", list: "bullet", indent: 1 } }]);
    const other = pageOf([{ insert: "\n", attributes: { list: "bullet", indent: 1, header: 2, blockquote: false } }]);
    expect(one.ops).toEqual([{ insert: "\n", attributes: { list: "bullet", indent: 1 } }]);
    expect(other.diff(one).ops).toEqual([]);
  });

  it("has the text's length, whatever is in it", () => {
    const text = new Y.Doc().getText();
    text.insert(0, "a\r\nb\rc\n");
    text.insertEmbed(2, { odd: { deep: 1 } });
    text.insertEmbed(0, new Y.Map());
    expect(pageOf(text.toDelta() as AnyOp[]).length()).toBe(text.length);
  });
});

describe("addresses", () => {
  it.each([
    ["https://example.org/a b", "https://example.org/a%20b"],
    [" example.org/page ", "https://example.org/page"],
    ["mail@example.org", "mailto:mail@example.org"],
    ["mailto:mail@example.org", "mailto:mail@example.org"],
    ["tel:+4123", "tel:+4123"],
    ["javascript:alert(1)", null],
    [" java\nscript:alert(1)", null],
    ["data:text/html,x", null],
    ["", null],
    ["not an address", null],
  ])("link %j", (text, link) => {
    expect(safeLink(text)).toBe(link);
  });

  it.each([
    ["https://example.org/a.png", true],
    ["http://example.org/a.png", false],
    ["data:image/png;base64,AAAA", true],
    ["data:image/svg+xml;base64,AAAA", false],
    ["data:text/html,x", false],
    ["javascript:1", false],
    ["a.png", false],
    [`data:image/png;base64,${"A".repeat(2 * IMAGE_LIMIT)}`, false],
  ])("image %#", (address, good) => {
    expect(safeImage(address)).toBe(good);
  });
});

describe("uploads", () => {
  it("are checked with a message that says what to do", () => {
    expect(imageProblem({ type: "image/png", size: IMAGE_LIMIT })).toBeNull();
    expect(imageProblem({ type: "image/png", size: 3_400_000 })).toContain("3.4 MB");
    expect(imageProblem({ type: "image/png", size: 3_400_000 })).toContain("1 MB");
    expect(imageProblem({ type: "image/heic", size: 10 })).toContain("PNG");
  });
});
