/**
 * Rooms and their addresses.
 *
 * A room is named by everything after `/d/` in the page's path. `a/b` and `a%2Fb` are two rooms, so a room is kept as its
 * list of decoded segments; its canonical form encodes each segment, which keeps `?` and `#` out of websocket addresses
 * and makes `%20` and a typed space the same room.
 */
import { ADJECTIVES, ANIMALS, pick } from "./words";

const DOCUMENTS = "/d/";
const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"; // 32 letters that are not mistaken for one another

export interface Room {
  /** Percent-encoded per segment: the room's part of page and websocket addresses, and its name in local storage. */
  readonly path: string;
  /** Decoded, for people. */
  readonly label: string;
}

/** Decodes one path segment; a stray `%` stands for itself, as a person who types an address means it. */
function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** The room that a page path names, or null if it names none (`/`, `/d/`). */
export function roomFromPath(pathname: string): Room | null {
  if (!pathname.startsWith(DOCUMENTS)) return null;
  const segments = pathname.slice(DOCUMENTS.length).split("/").map(decodeSegment);
  if (segments.every((segment) => segment === "")) return null;
  return { path: segments.map(encodeURIComponent).join("/"), label: segments.join("/") };
}

/** The page address (path only) of a room. */
export function pageOf(room: Room): string {
  return DOCUMENTS + room.path;
}

/** The websocket address without the room, from the page's own protocol and host. */
export function socketBase(location: { readonly protocol: string; readonly host: string }): string {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;
}

/**
 * A new room: two words to recognise it by and 60 random bits that make it unguessable, since knowing the name of an
 * open room is what gives access to it. `random` fills an array, as crypto.getRandomValues does.
 */
export function newRoom(random: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array): Room {
  const bytes = random(new Uint8Array(14));
  const letters = Array.from(bytes.subarray(2), (byte) => ALPHABET[byte & 31]).join("");
  const words = `${pick(ADJECTIVES, bytes[0] ?? 0)}-${pick(ANIMALS, bytes[1] ?? 0)}`;
  const path = `${words}-${letters.slice(0, 4)}-${letters.slice(4, 8)}-${letters.slice(8)}`;
  return { path, label: path };
}
