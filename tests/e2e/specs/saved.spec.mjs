// What "Saved" promises, and what happens without a connection.
import assert from "node:assert/strict";
import { test } from "node:test";
import { converge, until } from "../lib/editor.mjs";
import { switchable } from "../lib/link.mjs";
import { stage } from "../lib/stage.mjs";

const { server, join, open, person } = stage();

/** Collects every state the page shows from now on. */
function watchStates(editor) {
  return editor.page.evaluate(() => {
    const status = document.querySelector(".status");
    window.states = [status.dataset.state];
    new MutationObserver(() => window.states.push(status.dataset.state)).observe(status, { attributeFilter: ["data-state"] });
  });
}

const states = (editor) => editor.page.evaluate(() => window.states);

test("Saving… becomes Saved, and what was Saved survives kill -9 and a browser that kept nothing", async () => {
  const ann = await join("/d/crash", "Ann");
  await ann.reaches("saved");
  await watchStates(ann);
  await ann.type("This must not be lost.\nNor this: 👩‍👩‍👧‍👦");
  await ann.press("Enter");
  await ann.click("Checklist");
  await ann.type("or this");
  await ann.reaches("saved");
  await server.kill();
  assert.ok((await states(ann)).includes("saving"));
  await ann.reaches("offline");
  const before = await ann.html();
  await ann.page.context().close();
  await server.start();

  const fresh = await join("/d/crash", "Ann");
  await fresh.shows("or this");
  assert.equal(await fresh.html(), before);
});

test("deletions are confirmed and survive as well", async () => {
  const ann = await join("/d/deleted", "Ann");
  await ann.type("keep remove");
  await ann.reaches("saved");
  await watchStates(ann);
  await ann.press(...Array(7).fill("Backspace"));
  await until("the deletion is confirmed", () => states(ann), (seen) => seen.includes("saving") && seen.at(-1) === "saved");
  await server.kill();
  await ann.page.context().close();
  await server.start();
  const fresh = await join("/d/deleted", "Ann");
  await fresh.shows("keep");
  assert.equal((await fresh.text()).trim(), "keep");
});

test("nothing is called saved while the server cannot confirm it", async () => {
  const ann = await person();
  let hold = false;
  await ann.routeWebSocket(/\/ws\//, (socket) => {
    const upstream = socket.connectToServer();
    upstream.onMessage((message) => {
      if (!(hold && message[0] === 102)) socket.send(message);
    });
  });
  const editor = await open(ann, "/d/unconfirmed", "Ann");
  await editor.reaches("saved");
  hold = true;
  await watchStates(editor);
  await editor.type("not yet");
  const reader = await join("/d/unconfirmed", "Reader");
  await reader.shows("not yet"); // received and passed on: still not saved
  assert.deepEqual(new Set(await states(editor)), new Set(["saved", "saving"]));
  assert.equal(await editor.state(), "saving");
  assert.equal((await states(editor)).lastIndexOf("saved"), 0);
});

test("edits made while the server is away, on both sides, are merged when it is back", async () => {
  const [ann, bob] = await Promise.all([join("/d/away", "Ann"), join("/d/away", "Bob")]);
  await ann.type("start ");
  await bob.shows("start ");
  await ann.reaches("saved");
  await server.stop();
  await Promise.all([ann.reaches("offline"), bob.reaches("offline")]);
  await until("the page says so", () => ann.page.innerText(".status .words"), (text) => /changes kept on this device/.test(text));
  await ann.press("End");
  await ann.type("Ann offline. ");
  await bob.press("Home");
  await bob.type("Bob offline. ");
  assert.equal(await ann.state(), "offline");
  await server.start();
  await Promise.all([ann.reaches("saved"), bob.reaches("saved")]);
  const text = await converge(ann, bob);
  assert.ok(text.includes("Ann offline. ") && text.includes("Bob offline. ") && text.includes("start "), text);
  await ann.seesPeople("Ann", "Bob");
  await ann.seesCarets("Bob");
});

test("a page without a network says so, goes on, and merges on return", async () => {
  const context = await person();
  const [ann, bob] = [await open(context, "/d/tunnel", "Ann"), await join("/d/tunnel", "Bob")];
  await ann.type("start ");
  await bob.shows("start ");
  await ann.reaches("saved");
  await context.setOffline(true);
  await ann.type("in the tunnel ");
  await bob.press("End");
  await bob.type("meanwhile ");
  await bob.reaches("saved");
  await ann.reaches("offline");
  assert.ok(!(await ann.text()).includes("meanwhile"));
  await context.setOffline(false);
  await ann.reaches("saved");
  const text = await converge(ann, bob);
  assert.ok(text.includes("in the tunnel ") && text.includes("meanwhile "), text);
});

test("work done offline and closed is there again, and reaches the server on the next visit", async () => {
  const context = await person();
  const link = await switchable(context);
  const ann = await open(context, "/d/closed", "Ann");
  await ann.type("online. ");
  await ann.reaches("saved");
  await link.cut();
  await ann.reload();
  await ann.shows("online. ");
  await ann.reaches("offline");
  await ann.press("End");
  await ann.type("offline.");
  await until("the page says that it is kept", () => ann.page.innerText(".status .words"), (text) => /kept on this device/.test(text));
  await ann.page.close();
  const reader = await join("/d/closed", "Reader");
  await reader.reaches("saved");
  assert.ok(!(await reader.text()).includes("offline."));

  link.restore();
  const again = await open(context, "/d/closed", "Ann");
  await again.shows("offline.");
  await again.reaches("saved");
  await reader.shows("online. offline.");
});

test("an unknown document is not shown as empty before the server has answered", async () => {
  const writer = await join("/d/slow", "Ann");
  await writer.type("long text");
  await writer.reaches("saved");
  const context = await person();
  let release;
  const gate = new Promise((resolve) => (release = resolve));
  await context.routeWebSocket(/\/ws\//, (socket) => {
    const upstream = socket.connectToServer();
    upstream.onMessage(async (message) => {
      await gate;
      socket.send(message);
    });
  });
  const page = await context.newPage();
  await page.goto(`${server.url}/d/slow`);
  await page.waitForSelector(".loading");
  await page.waitForSelector('.status[data-state="connecting"]');
  assert.equal(await page.$(".ql-editor"), null);
  release();
  await page.waitForSelector(".ql-editor");
  assert.equal((await page.innerText(".ql-editor")).trim(), "long text");
});
