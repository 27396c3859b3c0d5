/**
 * What the page may say about the safety of this person's changes.
 *
 * Local changes are counted. After a change the counter goes to the server (message type 102), which echoes it once
 * everything this connection sent before it is durable. Such a barrier belongs to one connection: when the socket is
 * gone, an echo can no longer come, and even what was confirmed is asked for again, because the server on the other end
 * may be another one. "Saved" is therefore only ever said of the connection that is open now, after both sides have
 * exchanged what the other lacked.
 *
 * Pure: no clock, no socket. The session feeds events in and sends what `barrier` asks for.
 */

export type Link = "connecting" | "joined" | "offline" | "closed";
export type SavedLabel = "connecting" | "saving" | "saved" | "refused" | "offline" | "closed";

export interface Saved {
  readonly link: Link;
  /** Local changes so far, counted from one so that joining always needs a first confirmation. */
  readonly made: number;
  /** The highest counter sent on this connection; 0 before the first. */
  readonly sent: number;
  /** The highest counter echoed on this connection; 0 before the first. */
  readonly confirmed: number;
  /** The server has refused something that this connection sent: no echo can make that saved. */
  readonly refused: boolean;
  /** Whether the browser believes that it has a network. A socket seems open for a while after the network is gone. */
  readonly network: boolean;
}

export const START: Saved = { link: "connecting", made: 1, sent: 0, confirmed: 0, refused: false, network: true };

/** A change made here, or known only here, that this connection carries to the server. */
export function changed(state: Saved): Saved {
  return { ...state, made: state.made + 1 };
}

/** A socket has opened; nothing is exchanged yet. */
export function opened(state: Saved): Saved {
  return { ...state, link: "connecting", sent: 0, confirmed: 0, refused: false };
}

/** Both sides have what the other had before: from here on a barrier covers everything. */
export function joined(state: Saved): Saved {
  return { ...state, link: "joined" };
}

/** The socket is gone, or could not be opened. Barriers die with it. */
export function lost(state: Saved): Saved {
  return { ...state, link: state.link === "closed" ? "closed" : "offline", sent: 0, confirmed: 0 };
}

/** The server refused a change, and the connection goes on. */
export function denied(state: Saved): Saved {
  return { ...state, refused: true };
}

/** The browser has lost its network, or found one. */
export function networked(state: Saved, network: boolean): Saved {
  return { ...state, network };
}

/** The server refused for good. */
export function closed(state: Saved): Saved {
  return { ...state, link: "closed", sent: 0, confirmed: 0 };
}

/** The counter to send now, or null while there is nothing to confirm or no joined connection. */
export function barrier(state: Saved): number | null {
  return state.link === "joined" && state.sent < state.made ? state.made : null;
}

/** The counter went out on this connection. */
export function sent(state: Saved, counter: number): Saved {
  return { ...state, sent: Math.max(state.sent, counter) };
}

/** The server confirmed a counter. One that was never sent on this connection is not believed. */
export function echoed(state: Saved, counter: number): Saved {
  if (counter > state.sent || counter <= state.confirmed) return state;
  return { ...state, confirmed: counter };
}

/** What to show. */
export function label(state: Saved): SavedLabel {
  if (state.link !== "joined") return state.link;
  if (state.refused) return "refused";
  if (state.confirmed >= state.made) return "saved";
  return state.network ? "saving" : "offline";
}
