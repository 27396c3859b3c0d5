/**
 * Quill's text always ends with a line break, a shared text need not. y-quill leaves it open which of the two a break at
 * the end means, so that a page that saw Enter pressed shows one line more than a page that loads the same text later.
 *
 * The rule kept here: the text and the page are the same, except that the page shows one more break when the text does
 * not end with one. Breaking it takes a change at the very end; a local one adds the missing break to the text, a change
 * from elsewhere takes the surplus break off the page.
 */
import type Quill from "quill/core";
import type * as Y from "yjs";

function surplus(text: Y.Text, quill: Quill): boolean {
  const end = quill.getLength() - 1;
  // With one character more than the text, the page ends with an empty line exactly if the text ends with a break.
  return text.length > 0 && end === text.length && quill.getLine(end)[0]?.length() === 1;
}

/** Keeps the rule for as long as the binding lives; `origin` marks its changes as the binding's own. */
export function keepLastLine(text: Y.Text, quill: Quill, origin: object): () => void {
  const onRemote = (event: Y.YTextEvent): void => {
    if (event.transaction.origin !== origin && surplus(text, quill)) {
      quill.deleteText(quill.getLength() - 1, 1, origin as never);
    }
  };
  const onLocal = (name: string, ...[, , source]: unknown[]): void => {
    if (name === "text-change" && source !== origin && surplus(text, quill)) {
      text.doc?.transact(() => text.insert(text.length, "\n", {}), origin);
    }
  };
  text.observe(onRemote);
  quill.on("editor-change", onLocal);
  return () => {
    text.unobserve(onRemote);
    quill.off("editor-change", onLocal);
  };
}
