// The page itself: toolbar, pictures, links, pastes, the keyboard, and what other clients may put into a document.
import assert from "node:assert/strict";
import { test } from "node:test";
import { converge, until } from "../lib/editor.mjs";
import { edit, presence } from "../lib/peer.mjs";
import { stage } from "../lib/stage.mjs";

const { join, open, person } = stage();

const DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

test("a small picture is added from a file; a large one and other files are refused in words", async () => {
  const [ann, bob] = await Promise.all([join("/d/picture", "Ann"), join("/d/picture", "Bob")]);
  await ann.type("before ");
  await ann.click("Picture");
  const file = ann.page.locator("dialog input[type=file]");
  await file.setInputFiles({ name: "big.png", mimeType: "image/png", buffer: Buffer.alloc(3_400_000) });
  assert.match(await ann.page.innerText("dialog .problem"), /3\.4 MB.*1 MB/);
  await ann.page.click("dialog .primary");
  await file.setInputFiles({ name: "x.svg", mimeType: "image/svg+xml", buffer: Buffer.from("<svg/>") });
  assert.match(await ann.page.innerText("dialog .problem"), /PNG, JPEG/);
  await file.setInputFiles({ name: "dot.png", mimeType: "image/png", buffer: Buffer.from(DOT, "base64") });
  await ann.page.click("dialog .primary");
  await until("Bob sees it", () => bob.html(), (seen) => seen.includes(`data:image/png;base64,${DOT}`));
  assert.equal(await ann.page.$("dialog"), null);
  await converge(ann, bob);
});

test("a picture by address must be https; Escape closes the dialog and gives the text back", async () => {
  const ann = await join("/d/address", "Ann");
  await ann.type("x");
  await ann.click("Picture");
  await ann.page.fill("dialog input[type=url]", "http://example.org/a.png");
  await ann.page.keyboard.press("Enter");
  assert.match(await ann.page.innerText("dialog .problem"), /https/);
  await ann.page.keyboard.press("Escape");
  await ann.page.waitForSelector("dialog", { state: "detached" });
  assert.equal((await ann.text()).trim(), "x");
});

test("links: on a selection, without one, and only to addresses that are safe", async () => {
  const [ann, bob] = await Promise.all([join("/d/link", "Ann"), join("/d/link", "Bob")]);
  await ann.click("Link");
  await ann.page.fill("dialog input[type=url]", "javascript:alert(1)");
  await ann.page.click("dialog .primary");
  assert.match(await ann.page.innerText("dialog .problem"), /no web or mail address/);
  await ann.page.fill("dialog input[type=url]", "example.org/page");
  await ann.page.click("dialog .primary");
  await until("Bob has the link", () => bob.html(), (seen) => seen.includes('href="https://example.org/page"'));
  await ann.type(" and words");
  await ann.select(0, 17, 26);
  await ann.press("Control+k");
  await ann.page.keyboard.type("https://example.org/two");
  await ann.page.keyboard.press("Enter");
  await until("Bob has both", () => bob.html(), (seen) => /href="https:\/\/example.org\/two"[^>]*>and words</.test(seen));
  await converge(ann, bob);
});

test("pasted text keeps its formats and loses colours, scripts and pictures that cannot load", async () => {
  const [ann, bob] = await Promise.all([join("/d/paste", "Ann"), join("/d/paste", "Bob")]);
  await ann.focus();
  await ann.page.evaluate(() => {
    const data = new DataTransfer();
    const html = `<h2 style="color: rgb(0,0,0)">Head</h2><p onclick="x()"><b>bold</b> <span style="color:#000;background:#fff">black</span>
      <script>window.pwned = 1</script><img src="http://example.org/x.png"><img src="x" onerror="window.pwned = 1">
      <a href="javascript:alert(1)">bad</a></p>`;
    data.setData("text/html", html);
    data.setData("text/plain", "Head bold black bad");
    document.querySelector(".ql-editor").dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
  });
  await bob.shows("bold");
  const html = await bob.html();
  assert.match(html, /<h2>Head<\/h2>/);
  assert.match(html, /<strong>bold<\/strong>/);
  assert.doesNotMatch(html, /rgb\(0|#000|<img|javascript|onclick|script/);
  assert.equal(await bob.page.evaluate(() => window.pwned), undefined);
  assert.match(await ann.page.innerText(".toast"), /left out/);
  await converge(ann, bob);
  // The browser reports that the policy keeps the pasted handlers from running, which is as it should be.
  ann.problems = ann.problems.filter((problem) => !problem.startsWith("Executing inline event handler violates"));
});

test("a paste that no message could carry is refused before it gets into the document", async () => {
  const ann = await join("/d/huge", "Ann");
  await ann.type("small");
  await ann.page.evaluate(() => {
    const data = new DataTransfer();
    data.setData("text/plain", "x".repeat(4_100_000));
    document.querySelector(".ql-editor").dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
  });
  assert.match(await ann.page.innerText(".toast"), /too much to paste/);
  assert.equal((await ann.text()).trim(), "small");
});

test("everything can be reached by keyboard, and Tab does not catch anybody in the text", async () => {
  const ann = await join("/d/keys", "Ann");
  await ann.type("words");
  const focused = () => ann.page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.className);
  await ann.press("Alt+F10");
  assert.equal(await focused(), "Text style");
  await ann.page.keyboard.press("ArrowRight");
  assert.match(await focused(), /^Bold/);
  await ann.page.keyboard.press("ArrowLeft");
  await ann.page.keyboard.press("Enter");
  await ann.page.keyboard.press("ArrowDown");
  assert.equal(await focused(), "Heading");
  await ann.page.keyboard.press("Enter");
  await until("the line is a heading", () => ann.html(), (seen) => seen.startsWith("<h2>words"));
  await ann.press("Alt+F10");
  await ann.page.keyboard.press("Escape");
  assert.equal(await focused(), "Document");
  await ann.press("Shift+Tab");
  assert.notEqual(await focused(), "Document");
  assert.equal((await ann.text()).trim(), "words");
  await ann.page.click(".crowd");
  await ann.page.focus(".own-name input");
  await ann.page.keyboard.press("Escape");
  assert.equal(await ann.page.isVisible(".panel"), false);
});

test("what the editor cannot show is a placeholder, and everybody goes on editing around it", async () => {
  const context = await person();
  let upstream;
  await context.routeWebSocket(/\/ws\//, (socket) => {
    upstream = socket.connectToServer();
  });
  const ann = await open(context, "/d/foreign", "Ann");
  const bob = await join("/d/foreign", "Bob");
  await ann.reaches("saved");
  upstream.send(
    edit((text, Y) => {
      text.insert(0, "before ");
      text.insertEmbed(7, { video: "https://example.org/v" });
      text.insert(8, " after\n", { header: 99, color: "url(javascript:1)", strange: { deep: true } });
      text.insertEmbed(0, new Y.Map());
      text.insertEmbed(0, { formula: "e=mc^2" });
      text.insert(text.length, "end\n", { link: "javascript:alert(1)" });
    }),
  );
  await bob.shows("after");
  await bob.press("Control+End");
  await bob.type("Bob goes on");
  await bob.reaches("saved");
  const late = await join("/d/foreign", "Late");
  await late.shows("Bob goes on");
  const text = await converge(bob, late);
  assert.match(text, /\[formula\]\[element\]before \[video\] after/);
  assert.doesNotMatch(await late.html(), /javascript/);
});

test("presence of other clients may hold anything", async () => {
  const context = await person();
  let page;
  await context.routeWebSocket(/\/ws\//, (socket) => {
    page = socket;
    socket.connectToServer();
  });
  const ann = await open(context, "/d/strange", "Ann");
  await ann.reaches("saved");
  for (const state of [
    { user: { name: "x".repeat(5000), color: "url(https://example.org)" } },
    { user: { name: "<img src=x onerror='window.pwned=1'>", color: "#ffff00" } },
    { user: null, cursor: { anchor: 1, head: "x" } },
    { user: [], cursor: [] },
    { user: { name: "\u202eevil\n\n" } },
  ]) {
    page.send(presence(state));
  }
  const names = await until("all are listed", () => ann.people(), (seen) => seen.length === 6);
  assert.deepEqual([...names].sort(), ["<img src=x onerror='window.pwned", "Ann", "Guest", "Guest", "evil", "x".repeat(32)].sort());
  assert.equal(await ann.page.evaluate(() => window.pwned), undefined);
  ann.problems.length = 0; // y-quill reports carets that it cannot place
});

test("no request leaves the server's own address", async () => {
  const context = await person();
  const hosts = new Set();
  context.on("request", (request) => hosts.add(new URL(request.url()).protocol === "data:" ? "data" : new URL(request.url()).host));
  const ann = await open(context, "/", "Ann");
  await ann.type("text");
  await ann.reaches("saved");
  assert.deepEqual([...hosts], [new URL(ann.page.url()).host]);
});
