/** What may enter a document as a link or a picture. */

/** Largest uploaded picture in bytes: it travels to everybody in one message and stays in the document's history. */
export const IMAGE_LIMIT = 1_000_000;
export const IMAGE_TYPES: readonly string[] = ["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"];

/** Largest paste in characters. The server takes no message above 16 MiB, and a refused one could never be sent. */
export const PASTE_LIMIT = 4_000_000;

const LINKS = ["https:", "http:", "mailto:", "tel:"];
const DATA_IMAGE = /^data:image\/(png|jpeg|gif|webp|avif);base64,/;

function parse(address: string): URL | null {
  try {
    return new URL(address);
  } catch {
    return null;
  }
}

/** A link from what a person typed (`example.org` and `me@example.org` are completed), or null if it is none. */
export function safeLink(typed: string): string | null {
  const text = typed.trim();
  if (/^[^\s@/:]+@[^\s@/]+\.[^\s@/]+$/.test(text)) return `mailto:${text}`;
  if (/^[^\s/:]+\.[^\s/:]+/.test(text)) return parse(`https://${text}`)?.href ?? null;
  const url = parse(text);
  return url && LINKS.includes(url.protocol) ? url.href : null;
}

/** Whether the page's policy lets a picture at this address load, and an embedded one is within the limit. */
export function safeImage(address: string): boolean {
  if (DATA_IMAGE.test(address)) return address.length <= Math.ceil(IMAGE_LIMIT / 3) * 4 + 40;
  return parse(address)?.protocol === "https:";
}

function megabytes(bytes: number): string {
  return `${(bytes / 1_000_000).toFixed(1).replace(/\.0$/, "")} MB`;
}

/** Why a file cannot be put into the document, in words for people; null if it can. */
export function imageProblem(file: { readonly type: string; readonly size: number }): string | null {
  if (!IMAGE_TYPES.includes(file.type)) return "Only PNG, JPEG, GIF, WebP and AVIF pictures can be added.";
  if (file.size <= IMAGE_LIMIT) return null;
  return `This picture has ${megabytes(file.size)}; at most ${megabytes(IMAGE_LIMIT)} fit into a document. Make it smaller, or add it by its web address.`;
}
