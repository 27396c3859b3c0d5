/** Where a change of a text happened. Positions are UTF-16 units, as Quill and Yjs count. */
import Delta from "quill-delta";

/** Where a change ends, in the text that it leaves behind. */
export function changeEnd(delta: Delta): number {
  let index = 0;
  let end = 0;
  for (const op of delta.ops) {
    if (op.delete === undefined) index += Delta.Op.length(op);
    if (op.delete !== undefined || op.insert !== undefined || op.attributes) end = index;
  }
  return end;
}
