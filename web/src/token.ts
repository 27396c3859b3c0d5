/**
 * Access tokens arrive in the page's fragment (`#token=...`), which browsers never send to a server. They move into the
 * tab's session storage at once, so that neither the address bar, the history nor a copied link carries them.
 */
import type { Room } from "./room";

interface Page {
  readonly location: { readonly hash: string; readonly pathname: string; readonly search: string };
  readonly history: { replaceState(data: unknown, unused: string, url: string): void };
  readonly sessionStorage: { getItem(key: string): string | null; setItem(key: string, value: string): void };
}

/** Takes the token out of the address if there is one; otherwise the one this tab kept for the room, or null. */
export function takeToken(page: Page, room: Room): string | null {
  const key = `syncd.token/${room.path}`;
  const fresh = new URLSearchParams(page.location.hash.slice(1)).get("token");
  if (fresh) {
    page.history.replaceState(null, "", page.location.pathname + page.location.search);
  }
  try {
    if (fresh) page.sessionStorage.setItem(key, fresh);
    return fresh || page.sessionStorage.getItem(key);
  } catch {
    return fresh; // storage may be forbidden; the token then lives as long as the page
  }
}
