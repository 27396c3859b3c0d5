// Tokens and refusals.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { until } from "../lib/editor.mjs";
import { stage } from "../lib/stage.mjs";

const SECRET = "an e2e secret of at least thirty-two bytes";
const { server, join, open, person } = stage({ SYNCD_AUTH: "external", SYNCD_JWT_SECRET: SECRET });

/** A room token as another backend would mint it. */
function token(room, role, seconds = 600) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const head = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: "ann", room, role, iat: now, exp: now + seconds })}`;
  return `${head}.${createHmac("sha256", SECRET).update(head).digest("base64url")}`;
}

test("without a token: a message, and nothing to write in", async () => {
  const page = await (await person()).newPage();
  await page.goto(`${server.url}/d/closed`);
  await page.waitForSelector('.banner[data-code="4401"]');
  assert.match(await page.innerText(".banner"), /Please sign in/);
  assert.equal(await page.getAttribute(".status", "data-state"), "closed");
  assert.equal(await page.$(".ql-editor"), null);
});

test("a token from the fragment opens the document, and stays out of the address and the history", async () => {
  const context = await person();
  const secret = token("open", "write");
  const ann = await open(context, `/d/open#token=${secret}`, "Ann");
  await ann.reaches("saved");
  await ann.type("written with a token");
  await ann.reaches("saved");
  assert.equal(ann.page.url(), `${server.url}/d/open`);
  assert.equal(await ann.page.getAttribute(".copy", "title"), `${server.url}/d/open`);
  assert.ok(!(await ann.page.evaluate(() => JSON.stringify(history.state) + document.title)).includes(secret));
  await ann.reload();
  await ann.reaches("saved");
  assert.ok(!server.log().includes(secret.split(".")[1]), "the log has no token");
});

test("a token for another document: no access", async () => {
  const page = await (await person()).newPage();
  await page.goto(`${server.url}/d/secret#token=${token("open", "write")}`);
  await page.waitForSelector('.banner[data-code="4403"]');
  assert.match(await page.innerText(".banner"), /no access/);
});

test("a reader sees everything, and is told when a change is not taken", async () => {
  const ann = await join(`/d/read#token=${token("read", "write")}`, "Ann");
  await ann.type("for readers");
  const reader = await join(`/d/read#token=${token("read", "read")}`, "Reader");
  await reader.shows("for readers");
  await reader.reaches("saved");
  await reader.type("x");
  await reader.reaches("refused");
  assert.match(await reader.page.innerText(".banner"), /read-only/);
  assert.equal(await reader.page.getAttribute(".ql-editor", "contenteditable"), "false");
  await ann.type(" and more");
  await reader.shows(" and more");
  assert.ok(!(await ann.text()).includes("x"));
  await ann.seesPeople("Ann", "Reader");
});

test("a document that is deleted while open stays readable and can be copied", async () => {
  const context = await person();
  let socket;
  await context.routeWebSocket(/\/ws\//, (one) => {
    socket = one;
    one.connectToServer();
  });
  const ann = await open(context, `/d/gone#token=${token("gone", "write")}`, "Ann");
  await ann.type("last words");
  await ann.reaches("saved");
  await socket.close({ code: 4404, reason: "the document was deleted" });
  await ann.page.waitForSelector('.banner[data-code="4404"]');
  await until("the page is closed", () => ann.state(), (state) => state === "closed");
  assert.equal(await ann.page.getAttribute(".ql-editor", "contenteditable"), "false");
  await ann.page.click(".ql-editor");
  await ann.page.keyboard.press("Control+a");
  assert.match(await ann.page.evaluate(() => getSelection().toString()), /last words/);
  await ann.page.keyboard.press("x");
  assert.match(await ann.text(), /^last words/);

  await ann.page.click(".banner button");
  await ann.page.waitForSelector(".banner", { state: "detached" });
  const kept = () => ann.page.evaluate(async () => (await indexedDB.databases()).map((database) => database.name));
  await until("the page has started anew", () => ann.state(), (state) => state === "saved");
  assert.deepEqual(await kept(), ["syncd/gone"]);
});
