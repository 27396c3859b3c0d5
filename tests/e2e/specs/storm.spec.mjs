// Many random edits at once, on pages that come and go. Whatever people do, all pages end up the same.
import assert from "node:assert/strict";
import { test } from "node:test";
import { converge } from "../lib/editor.mjs";
import { switchable } from "../lib/link.mjs";
import { stage } from "../lib/stage.mjs";

const { join, open, person } = stage();

const SEEDS = (process.env.SYNCD_SEEDS ?? "1 2").split(/\s+/).map(Number);
const STEPS = Number(process.env.SYNCD_STEPS ?? 40);

/** A generator of numbers in [0, 1) that a seed repeats (mulberry32, public domain). */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const PIECES = ["word ", "😀", "👨‍👩‍👧‍👦", "é\u0301", "long line of text without an end ", "👍🏽", "\t", "a", "  "];
const STYLES = ["Title", "Heading", "Subheading", "Text"];
const BUTTONS = ["Bold", "Italic", "Strikethrough", "Bulleted list", "Numbered list", "Checklist", "Quote", "Code block", "Clear formatting"];

/** One random action of a person, as keys, buttons and selections. */
async function act(editor, random) {
  const choose = (list) => list[Math.floor(random() * list.length)];
  const place = async (length) => {
    const lines = (await editor.text()).split("\n");
    const line = Math.floor(random() * lines.length);
    // Between characters, as people's carets are; inside of emoji that consist of several, as programs' may be. Halves
    // of one character have a test of their own: Yjs itself does not treat them alike everywhere.
    const from = Math.floor(random() * (lines[line].length + 1));
    await editor.select(line, from, from + length, true).catch(() => editor.focus()); // the line may be gone
  };
  const kind = random();
  if (kind < 0.3) await editor.insert(choose(PIECES));
  else if (kind < 0.4) await editor.press("Enter");
  else if (kind < 0.5) await editor.press(choose(["Backspace", "Delete", "Control+Backspace", "Control+End", "Control+Home", "Tab"]));
  else if (kind < 0.6) await place(0);
  else if (kind < 0.68) {
    await place(Math.ceil(random() * 6));
    await editor.press(choose(["Backspace", "x", "Enter"]));
  } else if (kind < 0.84) {
    await place(Math.ceil(random() * 8));
    await editor.click(choose(BUTTONS));
  } else if (kind < 0.9) {
    await place(0);
    await editor.style(choose(STYLES));
  } else await editor.press(choose(["Control+z", "Control+z", "Control+Shift+z"]));
}

for (const seed of SEEDS) {
  test(`storm ${seed}: ${STEPS} random actions each by three people, one of them often without a connection`, async () => {
    const path = `/d/storm-${seed}`;
    const context = await person();
    const link = await switchable(context);
    const editors = [await join(path, "Ann"), await join(path, "Bob"), await open(context, path, "Eve")];
    await Promise.all(
      editors.map(async (editor, index) => {
        const random = generator(seed * 10 + index);
        for (let step = 0; step < STEPS; step++) {
          await act(editor, random);
          if (index === 2 && step % 10 === 3) await link.cut();
          if (index === 2 && step % 10 === 8) link.restore();
        }
      }),
    );
    link.restore();
    for (const editor of editors) await editor.reaches("saved");
    const late = await join(path, "Late");
    await late.reaches("saved");
    const text = await converge(...editors, late);
    assert.ok(text.length > 0, "the storm left something to compare");
  });
}
