/**
 * Emoji that are made of several characters (families, skin tones, flags, keycaps) and are deleted as one. Other
 * clusters are left to the browser: in many scripts people do delete a letter's marks one by one.
 */

const EMOJI = /\p{Extended_Pictographic}|\p{Regional_Indicator}|\u20e3/u;
const WINDOW = 64; // UTF-16 units looked at; the longest emoji in use have fewer than 40

function segments(text: string): string[] {
  return Array.from(new Intl.Segmenter().segment(text), (part) => part.segment);
}

/** UTF-16 length of the emoji that ends the text, 0 if it does not end with one of several characters. */
export function emojiBefore(text: string): number {
  const last = segments(text.slice(-WINDOW)).at(-1) ?? "";
  return last.length > 2 && EMOJI.test(last) ? last.length : 0;
}

/** UTF-16 length of the emoji that begins the text, 0 if it does not begin with one of several characters. */
export function emojiAfter(text: string): number {
  const first = segments(text.slice(0, WINDOW))[0] ?? "";
  return first.length > 2 && EMOJI.test(first) ? first.length : 0;
}
