// Addresses of documents: which are one document, which are two.
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../lib/editor.mjs";
import { stage } from "../lib/stage.mjs";

const { server, join, open, person } = stage();

test("the front page makes a new document with an address of its own", async () => {
  const context = await person();
  const first = await open(context, "/", "Ann");
  const second = await open(context, "/", "Ann");
  const path = (editor) => new URL(editor.page.url()).pathname;
  assert.match(path(first), /^\/d\/[a-z]+-[a-z]+(-[0-9a-z]{4}){3}$/);
  assert.notEqual(path(first), path(second));
  assert.equal(await first.page.evaluate(() => history.length), 2, "the front page is not left in the history");
  await first.type("shared by its address");
  const other = await join(path(first), "Bob");
  await other.shows("shared by its address");
});

test("the title is the first line with text", async () => {
  const ann = await join("/d/title", "Ann");
  assert.equal(await ann.page.title(), "Untitled document – syncd");
  await ann.type("\n\nMinutes of the meeting\nmore");
  await until("the title follows", () => ann.page.title(), (title) => title === "Minutes of the meeting – syncd");
  assert.equal(await ann.page.innerText("h1"), "Minutes of the meeting");
});

test("slashes, spaces, unicode and marks in names: each pair of addresses is one document or two", async () => {
  const same = [
    ["/d/two words", "/d/two%20words"],
    ["/d/größe/ä ö", "/d/gr%C3%B6%C3%9Fe/%C3%A4%20%C3%B6"],
    ["/d/what%3Fx=1%23y", "/d/what%3fx%3D1%23y"],
    ["/d/👩‍🚀", "/d/%F0%9F%91%A9%E2%80%8D%F0%9F%9A%80"],
    ["/d/team/plan/2026", "/d/team/plan/2026"],
    ["/d/100%25", "/d/100%25"],
  ];
  for (const [one, other] of same) {
    const ann = await join(one, "Ann");
    await ann.type(`at ${one}`);
    const bob = await join(other, "Bob");
    await bob.shows(`at ${one}`);
    await ann.page.context().close();
    await bob.page.context().close();
  }
  const different = [
    ["/d/a/b", "/d/a%2Fb"],
    ["/d/a%2Fb", "/d/a%252Fb"],
    ["/d/Case", "/d/case"],
    ["/d/x", "/d/x/"],
  ];
  for (const [one, other] of different) {
    const ann = await join(one, "Ann");
    await ann.type(`only at ${one}`);
    await ann.reaches("saved");
    const bob = await join(other, "Bob");
    await bob.reaches("saved");
    assert.ok(!(await bob.text()).includes(`only at ${one}`), `${one} and ${other}`);
    await ann.page.context().close();
    await bob.page.context().close();
  }
});

test("the link that is copied is the address of the document", async () => {
  const context = await person();
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const ann = await open(context, "/d/two%20words/é#somewhere", "Ann");
  await ann.page.click(".copy");
  await until("it says so", () => ann.page.innerText(".copy"), (text) => text.includes("Copied"));
  const copied = await ann.page.evaluate(() => navigator.clipboard.readText());
  assert.equal(copied, `${server.url}/d/two%20words/%C3%A9`);
});
