/** What people do here, as it goes into the shared text. */
import Delta from "quill-delta";
import { oneKind } from "./lines";

// A half of a surrogate pair cannot be sent: others get U+FFFD, so the text here has to have that, too.
const HALF = /\p{Surrogate}/gu;

/** The same change with whole characters and one kind of line where a kind is set. */
export function outgoing(change: Delta): Delta {
  const ops = change.ops.map((op) => {
    if (typeof op.insert === "string") return { ...op, insert: op.insert.replace(HALF, "\ufffd") };
    return op.retain !== undefined && op.attributes ? { ...op, attributes: oneKind(op.attributes) } : op;
  });
  return new Delta(ops);
}
