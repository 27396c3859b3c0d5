/**
 * Halves of a surrogate pair. When an edit splits a pair, Yjs replaces both halves by U+FFFD without telling anybody, so
 * that the page of the one who was there differs from the page of the one who comes later. The page is made to follow.
 */
import type Quill from "quill/core";
import Delta from "quill-delta";
import { touched } from "./changes";

const HALF = /\p{Surrogate}/gu;
const REPLACEMENT = "\ufffd";
const MARGIN = 2; // the neighbour of a change, and the other half that the neighbour may have

/** Where the text has halves of pairs. */
export function halves(text: string): number[] {
  return Array.from(text.matchAll(HALF), (match) => match.index);
}

/** Text with one character per position, embeds as spaces. */
function flat(contents: Delta): string {
  return contents.ops.map((op) => (typeof op.insert === "string" ? op.insert : " ")).join("");
}

/** Keeps halves off the page for as long as the binding lives; `origin` marks the changes as the binding's own. */
export function mendHalves(quill: Quill, origin: object): () => void {
  const onChange = (name: string, ...[delta]: unknown[]): void => {
    if (name !== "text-change") return;
    const { index, length } = touched(delta as Delta, MARGIN);
    const found = halves(flat(quill.getContents(index, length)));
    for (const at of found.filter((one) => (one > 0 || index === 0) && one < length - 1)) {
      const [op] = quill.getContents(index + at, 1).ops;
      const change = new Delta().retain(index + at).delete(1).insert(REPLACEMENT, op?.attributes);
      quill.updateContents(change, origin as never);
    }
  };
  quill.on("editor-change", onChange);
  return () => void quill.off("editor-change", onChange);
}
