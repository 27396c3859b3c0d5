// Pictures of the main states, for people to look at: desktop and phone, light and dark.
import assert from "node:assert/strict";
import { mkdirSync, statSync } from "node:fs";
import { join as joinPath } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { DESKTOP, PHONE } from "../lib/browser.mjs";
import { converge } from "../lib/editor.mjs";
import { switchable } from "../lib/link.mjs";
import { stage } from "../lib/stage.mjs";

const FOLDER = process.env.SYNCD_SHOTS ?? fileURLToPath(new URL("../../../build/screenshots/", import.meta.url));
mkdirSync(FOLDER, { recursive: true });

const { join, open, person } = stage();

const DEVICES = { desktop: DESKTOP, phone: PHONE };
const THEMES = ["light", "dark"];

async function write(editor) {
  await editor.type("Spring retreat\n");
  await editor.select(0, 0, 14);
  await editor.style("Title");
  await editor.press("Control+End");
  await editor.type("Three days by the lake. This page is where we plan them together; just write.\nTo do\n");
  await editor.select(2, 0, 5);
  await editor.style("Heading");
  await editor.press("Control+End");
  await editor.click("Checklist");
  await editor.type("book the house\nask who needs a lift\nfind somebody who can cook for twelve\n\n");
  await editor.type("Notes\n");
  await editor.select(6, 0, 5);
  await editor.style("Heading");
  await editor.press("Control+End");
  await editor.click("Quote");
  await editor.type("The house has twelve beds and one very old piano.\n\n");
  await editor.insert("Bring a coat 🧥, it is still cold. ");
  await editor.click("Code block");
  await editor.type("");
}

async function shoot(editor, name) {
  const path = joinPath(FOLDER, `${name}.png`);
  await editor.page.screenshot({ path, animations: "disabled", caret: "initial" });
  assert.ok(statSync(path).size > 5_000, path);
}

/** No part of the page may be wider than the screen. */
async function assertFits(editor) {
  const { content, screen } = await editor.page.evaluate(() => ({
    content: document.documentElement.scrollWidth,
    screen: document.documentElement.clientWidth,
  }));
  assert.ok(content <= screen, `the page is ${content} wide, the screen ${screen}`);
}

for (const [device, options] of Object.entries(DEVICES)) {
  for (const colorScheme of THEMES) {
    const name = (state) => `${device}-${colorScheme}-${state}`;
    const here = `/d/${device}-${colorScheme}`;

    test(`${device}, ${colorScheme}: writing together, people, offline`, async () => {
      const context = await person({ ...options, colorScheme });
      const link = await switchable(context);
      const ann = await open(context, here, "Ann Berger");
      await ann.reaches("saved");
      await shoot(ann, name("empty"));
      await write(ann);
      const [bob, eve] = await Promise.all([join(here, "Bob"), join(here, "Quiet Otter")]);
      await converge(ann, bob, eve);
      await eve.select(1, 0, 23);
      await bob.select(4, 8, 8);
      await bob.type("near ");
      await ann.seesCarets("Bob", "Quiet Otter");
      await ann.reaches("saved");
      await assertFits(ann);
      await shoot(ann, name("together"));
      await ann.page.click(".crowd");
      await assertFits(ann);
      await shoot(ann, name("people"));
      await ann.page.keyboard.press("Escape");
      await ann.page.click(".toolbar .ql-color .ql-picker-label");
      await assertFits(ann);
      await shoot(ann, name("colours"));
      await ann.page.keyboard.press("Escape");
      await ann.click("Picture");
      await ann.page.click("dialog .primary");
      await shoot(ann, name("picture"));
      await ann.page.keyboard.press("Escape");
      await link.cut();
      await ann.reaches("offline");
      await assertFits(ann);
      await shoot(ann, name("offline"));
    });

    test(`${device}, ${colorScheme}: refused, loading`, async () => {
      const context = await person({ ...options, colorScheme });
      let socket;
      await context.routeWebSocket(/\/ws\//, (one) => {
        socket = one;
        one.connectToServer();
      });
      const ann = await open(context, here, "Ann Berger");
      await ann.shows("Spring retreat");
      await socket.close({ code: 4403, reason: "your access was taken back" });
      await ann.page.waitForSelector(".banner");
      await assertFits(ann);
      await shoot(ann, name("refused"));

      const waiting = await person({ ...options, colorScheme });
      await waiting.routeWebSocket(/\/ws\//, () => undefined);
      const page = await waiting.newPage();
      await page.goto(ann.page.url());
      await page.waitForSelector(".loading");
      await shoot({ page }, name("loading"));
    });
  }
}
