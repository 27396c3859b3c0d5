/**
 * Keeps the page equal to the shared text.
 *
 * The binding passes changes on, but a change does not always do the same to both: Yjs replaces the halves of a
 * surrogate pair that an edit has split, code loses its bold on the page and keeps it in the text, two kinds of line
 * meet. So some time after changes the page is compared with the text, and where they differ the page follows. What is
 * corrected this way is never sent: it is only about how the text is shown.
 */
import type Quill from "quill/core";
import Delta from "quill-delta";
import type * as Y from "yjs";
import { shown } from "./lines";
import { tame, type AnyOp } from "./tame";

const PAUSE = 300; // ms between a change and the comparison
const SHARE = 20; // comparing takes at most one twentieth of the time, however long the text is

/** The document that a page shows for the text: embeds and lines tamed, and a line break at the end. */
export function pageOf(ops: readonly AnyOp[]): Delta {
  const page = new Delta();
  for (const { insert, attributes } of tame(ops)) page.insert(insert as string, shown(attributes ?? {}));
  const last = page.ops.at(-1)?.insert;
  if (typeof last !== "string" || !last.endsWith("\n")) page.insert("\n");
  return page;
}

/** Compares and corrects until the returned function is called; `origin` marks corrections as the binding's own. */
export function keepEqual(text: Y.Text, quill: Quill, origin: object): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let pause = PAUSE;
  let hopeless = "";

  const compare = (): void => {
    timer = undefined;
    // Changing what an input method is composing would break the composition.
    if (quill.composition.isComposing) return schedule();
    const begun = performance.now();
    const difference = quill.getContents().diff(pageOf(text.toDelta() as AnyOp[]));
    const what = difference.ops.length === 0 ? "" : JSON.stringify(difference.ops);
    // Values that Quill cannot show stay different; trying once is enough.
    if (what !== "" && what !== hopeless) quill.updateContents(difference, origin as never);
    hopeless = what;
    pause = Math.max(PAUSE, SHARE * (performance.now() - begun));
  };
  const schedule = (): void => {
    timer ??= setTimeout(compare, pause);
  };
  const onEditor = (name: string): void => {
    if (name === "text-change") schedule();
  };
  text.observe(schedule);
  quill.on("editor-change", onEditor);
  schedule();
  return () => {
    clearTimeout(timer);
    text.unobserve(schedule);
    quill.off("editor-change", onEditor);
  };
}
