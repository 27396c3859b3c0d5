/** Where everything meets: address, token, document, person and page. */
import { createRoot } from "react-dom/client";
import "quill/dist/quill.snow.css";
import "quill-cursors/css";
import "./styles.css";
import { openDevice } from "./device";
import { Identity } from "./identity";
import { newRoom, pageOf, roomFromPath, socketBase, type Room } from "./room";
import { Session } from "./session";
import { takeToken } from "./token";
import { connect } from "./transport";
import { App } from "./ui/App";

const random = (bytes: Uint8Array<ArrayBuffer>): Uint8Array => crypto.getRandomValues(bytes);

// Read at each use, inside the callers' error handling: where storage is forbidden, even naming it throws.
const store = {
  getItem: (key: string): string | null => localStorage.getItem(key),
  setItem: (key: string, value: string): void => localStorage.setItem(key, value),
};

function currentRoom(): Room {
  const named = roomFromPath(location.pathname);
  if (named) return named;
  const fresh = newRoom(random);
  history.replaceState(null, "", pageOf(fresh) + location.hash);
  return fresh;
}

function start(root: HTMLElement): void {
  const room = currentRoom();
  const token = takeToken(window, room);
  const session = new Session({
    open: (doc, onFull) => openDevice(room.path, doc, onFull),
    connect: (doc, events) => connect(doc, { server: socketBase(location), room: room.path, token }, events),
  });
  const identity = new Identity({ awareness: session.transport.awareness, store, random });

  // Others see this caret go at once when the page is left, instead of after the server's time limit.
  addEventListener("pagehide", () => session.transport.destroy());
  // A page that the browser kept alive in its history has lost its connection; a fresh one opens from this device at once.
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
  // Leaving can lose something only where this browser keeps no copy, or is still writing it.
  addEventListener("beforeunload", (event) => {
    const { kept, stored, saved } = session.view();
    if ((kept === false && saved === "saving") || (saved === "offline" && !(kept && stored))) event.preventDefault();
  });
  addEventListener("offline", () => session.setNetwork(false));
  addEventListener("online", () => session.setNetwork(true));
  // Another token or another document in the same tab: start over with it.
  addEventListener("hashchange", () => {
    if (new URLSearchParams(location.hash.slice(1)).has("token")) location.reload();
  });
  createRoot(root).render(
    <App session={session} identity={identity} room={room.label} link={location.origin + pageOf(room)} />,
  );
}

const root = document.getElementById("root");
if (root) start(root);
