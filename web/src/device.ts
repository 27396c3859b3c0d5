/** The copy of a document on this device (IndexedDB), which makes a page open at once and work offline. */
import { IndexeddbPersistence } from "y-indexeddb";
import type * as Y from "yjs";

export interface Device {
  /** Resolves once the stored copy is in the document: true; false if this browser keeps none. Never rejects. */
  readonly loaded: Promise<boolean>;
  destroy(): void;
}

/** Opens the stored copy of a room and keeps it up to date. */
export function openDevice(room: string, doc: Y.Doc): Device {
  const persistence = new IndexeddbPersistence(`syncd/${room}`, doc);
  const loaded = new Promise<boolean>((resolve) => {
    persistence.on("synced", () => resolve(true));
    persistence._db.catch(() => resolve(false));
  });
  return { loaded, destroy: () => void persistence.destroy().catch(() => undefined) };
}
