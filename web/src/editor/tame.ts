/**
 * Deltas of a shared document come from any client, so they may hold what this editor cannot build. Quill throws at an
 * unknown embed, halfway through a change, and from then on the page and the document differ. Whatever is unknown is
 * therefore shown as a placeholder of the same length; the document itself keeps it.
 */

export interface AnyOp {
  insert?: unknown;
  delete?: number;
  retain?: number | Record<string, unknown>;
  attributes?: Record<string, unknown>;
}

/** The embed that stands for one this editor does not know; its value is the name to show. */
export const UNSUPPORTED = "unsupported";

const EMBEDS: ReadonlySet<string> = new Set(["image", UNSUPPORTED]);

function tameEmbed(insert: object): Record<string, unknown> {
  // A shared type (a table, say) is an instance of a class; what can be shown is a plain object with one known key.
  const plain = Object.getPrototypeOf(insert) === Object.prototype;
  const [name = "", ...more] = plain ? Object.keys(insert) : [];
  const value = (insert as Record<string, unknown>)[name];
  if (more.length === 0 && EMBEDS.has(name) && typeof value === "string") return { [name]: value };
  return { [UNSUPPORTED]: name.slice(0, 40) || "element" };
}

function tameAttributes(attributes: Record<string, unknown>): Record<string, unknown> {
  const header = attributes.header;
  const strange = header && ![1, 2, 3, 4, 5, 6].includes(Number(header));
  return strange ? { ...attributes, header: false } : attributes;
}

function tameInsert(insert: unknown): Pick<AnyOp, "insert"> {
  if (typeof insert === "object" && insert !== null) return { insert: tameEmbed(insert) };
  // Quill makes one character of the two that end a line on some systems; all positions behind it would be off.
  return typeof insert === "string" ? { insert: insert.replace(/\r(?=\n)/g, " ") } : {};
}

/** The same change, of the same length, with embeds, headings and line ends that the editor can show. */
export function tame(ops: readonly AnyOp[]): AnyOp[] {
  return ops.map((op) => {
    const insert = tameInsert(op.insert);
    const attributes = op.attributes ? { attributes: tameAttributes(op.attributes) } : {};
    return { ...op, ...insert, ...attributes };
  });
}
