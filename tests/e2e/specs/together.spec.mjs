// People in one document at the same time.
import assert from "node:assert/strict";
import { test } from "node:test";
import { converge, until } from "../lib/editor.mjs";
import { switchable } from "../lib/link.mjs";
import { stage } from "../lib/stage.mjs";

const { join, open, person } = stage();

test("two people type at once: one text, both carets with names", async () => {
  const [ann, bob] = await Promise.all([join("/d/both", "Ann"), join("/d/both", "Bob")]);
  await ann.seesPeople("Ann", "Bob");
  const [one, two] = ["The quick brown fox jumps. ", "Pack my box with jugs. "];
  await Promise.all([ann.type(one, 15), bob.type(two, 12)]);
  const text = await converge(ann, bob);
  assert.deepEqual([...text].sort(), [...(one + two)].sort(), "every character of both is there");
  await Promise.all([ann.seesCarets("Bob"), bob.seesCarets("Ann")]);

  await until("Bob's caret is where he writes", () => ann.caretDistance("Bob", bob), (pixels) => pixels < 4);
  await until("Ann's caret is where she writes", () => bob.caretDistance("Ann", ann), (pixels) => pixels < 4);

  await Promise.all([ann.press("Enter"), bob.press("Home")]);
  await Promise.all([ann.type("third line of Ann", 5), bob.type("Bob again ", 5)]);
  const both = await converge(ann, bob);
  assert.ok(both.includes("third line of Ann") && both.includes("Bob again "), both);
  await until("Bob's caret is where he writes", () => ann.caretDistance("Bob", bob), (pixels) => pixels < 4);
  await until("Ann's caret is where she writes", () => bob.caretDistance("Ann", ann), (pixels) => pixels < 4);
});

test("two people format at once: the same formats on both pages", async () => {
  const [ann, bob] = await Promise.all([join("/d/format", "Ann"), join("/d/format", "Bob")]);
  await ann.type("Shopping list\nbread and milk\nnothing else\n");
  await bob.shows("nothing else");
  await Promise.all([
    (async () => {
      await ann.select(0, 0, 13);
      await ann.style("Title");
      await ann.select(1, 0, 9);
      await ann.press("Control+b");
    })(),
    (async () => {
      await bob.select(1, 6, 14);
      await bob.press("Control+i");
      await bob.click("Checklist");
      await bob.select(2, 0, 7);
      await bob.click("Strikethrough");
    })(),
  ]);
  await converge(ann, bob);
  const html = await ann.html();
  assert.match(html, /<h1>Shopping list<\/h1>/);
  assert.match(html, /data-list="unchecked"/);
  assert.match(html, /<strong>bread <em>and<\/em><\/strong><em> milk<\/em>/);
  assert.match(html, /<s>nothing<\/s> else/);

  await ann.page.click('.ql-editor li[data-list="unchecked"]', { position: { x: 12, y: 12 } }); // the box before the text
  await until("the item is ticked for Bob", () => bob.html(), (seen) => seen.includes('data-list="checked"'));
});

test("colours of the toolbar keep their names, so that both themes can choose the shade", async () => {
  const [ann, bob] = await Promise.all([join("/d/ink", "Ann"), join("/d/ink", "Bob")]);
  await ann.type("red words");
  await ann.select(0, 0, 3);
  await ann.page.click(".toolbar .ql-color .ql-picker-label");
  await ann.page.click('.toolbar .ql-color .ql-picker-item[data-value="red"]');
  await until("Bob sees red", () => bob.html(), (seen) => seen.includes('<span style="color: var(--ink-red);">red</span>'));
  await converge(ann, bob);
  await ann.click("Undo");
  await until("the colour is gone", () => bob.html(), (seen) => !seen.includes("--ink-red"));
});

test("emoji of several characters survive typing, deleting and splitting", async () => {
  const [ann, bob] = await Promise.all([join("/d/emoji", "Ann"), join("/d/emoji", "Bob")]);
  const family = "👨‍👩‍👧‍👦";
  await ann.insert(`a${family}b👍🏽c🇨🇭d😀e\n`);
  await bob.shows(family);
  await Promise.all([bob.insert("🧑🏿‍🚀 "), ann.insert(`${family}!`)]);
  const text = await converge(ann, bob);
  assert.ok(text.includes(`a${family}b👍🏽c🇨🇭d😀e`) && text.includes("🧑🏿‍🚀 ") && text.includes(`${family}!`), text);
  assert.ok(!text.includes("\ufffd"), text);

  await ann.press("Backspace", "Backspace");
  await until("the family goes as one", () => bob.text(), (seen) => seen.split(family).length === 2);
  assert.ok(!(await converge(ann, bob)).endsWith("\u200d"));
});

test("half an emoji deleted, and the halves split by others, look the same to everybody", async () => {
  const [ann, bob] = await Promise.all([join("/d/halves", "Ann"), join("/d/halves", "Bob")]);
  await ann.insert("x😀y\n1😂2\n");
  await bob.shows("1😂2");
  await ann.select(0, 1, 2); // the first half of the pair
  await Promise.all([ann.press("Delete"), bob.select(1, 2, 2)]);
  await bob.insert("|");
  await converge(ann, bob);
  const late = await join("/d/halves", "Late");
  await converge(ann, bob, late);
});

test("somebody who comes late sees the document, the people and their carets", async () => {
  const ann = await join("/d/late", "Ann");
  await ann.type("written before you came");
  await ann.reaches("saved");
  const bob = await join("/d/late", "Bob");
  await bob.shows("written before you came");
  await bob.seesCarets("Ann");
  await bob.seesPeople("Ann", "Bob");
  const colors = await bob.page.$$eval(".panel li .badge", (all) => all.map((one) => one.style.backgroundColor));
  assert.equal(new Set(colors).size, 2, "two people have two colours");
});

test("closing a page takes its caret and its name away within seconds", async () => {
  const [ann, bob] = await Promise.all([join("/d/leave", "Ann"), join("/d/leave", "Bob")]);
  await Promise.all([ann.type("here"), bob.type("there")]);
  await ann.seesCarets("Bob");
  await bob.page.close({ runBeforeUnload: true });
  await ann.seesCarets();
  await ann.seesPeople("Ann");
});

test("undo takes back only one's own edits", async () => {
  const [ann, bob] = await Promise.all([join("/d/undo", "Ann"), join("/d/undo", "Bob")]);
  await ann.type("Ann was here. ");
  await bob.shows("Ann was here. ");
  await bob.press("End");
  await bob.type("Bob too.");
  await ann.shows("Bob too.");
  await ann.press("Control+z");
  assert.equal((await converge(ann, bob)).trim(), "Bob too.");
  await ann.press("Control+z", "Control+z");
  assert.equal((await converge(ann, bob)).trim(), "Bob too.");
  await ann.press("Control+Shift+z");
  const text = await converge(ann, bob);
  assert.ok(text.includes("Ann was here. ") && text.includes("Bob too."), text);
  await bob.click("Undo");
  assert.equal((await converge(ann, bob)).trim(), "Ann was here.");
});

test("a line at the end looks the same to those who saw it made and those who load it", async () => {
  const ann = await join("/d/lastline", "Ann");
  await ann.type("one");
  const bob = await join("/d/lastline", "Bob");
  await bob.shows("one");
  await ann.press("Enter");
  await converge(ann, bob);
  const late = await join("/d/lastline", "Late");
  await late.shows("one");
  await converge(ann, bob, late);
  await Promise.all([bob.press("Control+End", "Enter", "Enter"), late.press("Control+End", "Enter")]);
  await converge(ann, bob, late, await join("/d/lastline", "Later"));
});

test("a new name reaches the others, at the caret too", async () => {
  const [ann, bob] = await Promise.all([join("/d/name", "Ann"), join("/d/name", "Bob")]);
  await ann.type("hello");
  await bob.seesCarets("Ann");
  await ann.page.click(".crowd");
  await ann.page.fill(".own-name input", "  <b>Dr. Ann</b>\u202e ");
  await ann.page.keyboard.press("Enter");
  await bob.seesPeople("<b>Dr. Ann</b>", "Bob");
  await ann.focus();
  await bob.seesCarets("<b>Dr. Ann</b>");
  await ann.reload();
  await bob.seesPeople("<b>Dr. Ann</b>", "Bob");
});

test("tabs of one person: a tab without a socket makes nobody disappear, and its edits arrive through the other", async () => {
  const ann = await join("/d/tabs", "Ann");
  await ann.type("Ann writes. ");
  const context = await person();
  const link = await switchable(context);
  const first = await open(context, "/d/tabs", "Bob");
  const offline = await open(context, "/d/tabs", "Bob");
  await ann.seesPeople("Ann", "Bob", "Bob");
  await first.seesCaretsOf("Ann");
  await link.cut("newest");
  await offline.reaches("offline");
  await ann.seesPeople("Ann", "Bob");
  await first.seesPeople("Ann", "Bob", "Bob");
  await first.seesCaretsOf("Ann");

  await offline.press("Control+End");
  await offline.type("From the tab without a socket.");
  await ann.shows("From the tab without a socket.");
  await first.reaches("saved");
  assert.equal(await offline.state(), "offline");
  await ann.seesPeople("Ann", "Bob");
  link.restore();
  await offline.reaches("saved");
  await ann.seesPeople("Ann", "Bob", "Bob");
  await offline.seesCaretsOf("Ann");
  await converge(ann, first, offline);
});
