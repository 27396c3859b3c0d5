/** Names of people: what they may look like, and friendly ones for those who have not chosen. */
import { ADJECTIVES, ANIMALS, pick } from "./words";

export const LONGEST_NAME = 32;

// Control characters, line separators, bidirectional overrides and invisible spaces let a name break out of its
// label or pass for another. The joiner U+200D stays: it holds emoji together.
const UNWANTED = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/gu;

// Every move of a caret shows all names again, and segmenting is slow.
const cleaned = new Map<string, string>();

/** A name that is safe to show: one line, trimmed, at most 32 characters (as people count them); empty if nothing is left. */
export function cleanName(name: unknown): string {
  if (typeof name !== "string") return "";
  const known = cleaned.get(name);
  if (known !== undefined) return known;
  const clean = clear(name);
  if (cleaned.size >= 1000) cleaned.clear();
  cleaned.set(name, clean);
  return clean;
}

function clear(name: string): string {
  const line = name.slice(0, 20 * LONGEST_NAME).replace(UNWANTED, " ").replace(/\p{Surrogate}/gu, "");
  const calm = line.replace(/(\p{Mark}{3})\p{Mark}+/gu, "$1"); // stacked marks would cover the neighbours
  const characters = new Intl.Segmenter().segment(calm.replace(/\s+/gu, " ").trim());
  return Array.from(characters, (character) => character.segment).slice(0, LONGEST_NAME).join("").trim();
}

function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

/** A friendly name such as "Quiet Otter". `random` fills an array, as crypto.getRandomValues does. */
export function friendlyName(random: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array): string {
  const bytes = random(new Uint8Array(2));
  return `${capital(pick(ADJECTIVES, bytes[0] ?? 0))} ${capital(pick(ANIMALS, bytes[1] ?? 0))}`;
}

/** One or two characters for a round badge: the initials of the first and the last word. */
export function initials(name: string): string {
  const words = name.split(" ").filter((word) => word !== "");
  const first = (word: string | undefined): string =>
    word ? (Array.from(new Intl.Segmenter().segment(word))[0]?.segment ?? "") : "";
  const last = words.length > 1 ? first(words[words.length - 1]) : "";
  return (first(words[0]) + last).toUpperCase();
}
