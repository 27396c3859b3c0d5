/** The copy of a document on this device (IndexedDB), which makes a page open at once and work offline. */
import { clearDocument, IndexeddbPersistence } from "y-indexeddb";
import type * as Y from "yjs";

export interface Device {
  /** Resolves once the stored copy is in the document: true; false if this browser keeps none. Never rejects. */
  readonly loaded: Promise<boolean>;
  /** Resolves once every change made so far is in the stored copy. A browser writes behind the page's back. */
  settled(): Promise<void>;
  destroy(): void;
  /** Removes the stored copy. Gives up after two seconds: another tab that has it open can block this. */
  forget(): Promise<void>;
}

/** Resolves when the writes that came before have ended: transactions on one store run in the order they were begun. */
function passThrough(db: IDBDatabase): Promise<void> {
  return new Promise((resolve) => {
    const transaction = db.transaction(["updates"], "readonly");
    transaction.oncomplete = transaction.onabort = () => resolve();
  });
}

/** Opens the stored copy of a room and keeps it up to date; `onFull` is called when the browser takes no more. */
export function openDevice(room: string, doc: Y.Doc, onFull: () => void): Device {
  const name = `syncd/${room}`;
  const persistence = new IndexeddbPersistence(name, doc);
  const loaded = new Promise<boolean>((resolve) => {
    persistence.on("synced", () => resolve(true));
    persistence._db.catch(() => resolve(false));
  });
  // y-indexeddb does not watch its writes; a failed one can only be seen here.
  addEventListener("unhandledrejection", ({ reason }) => {
    if (reason instanceof DOMException && reason.name === "QuotaExceededError") onFull();
  });
  return {
    loaded,
    settled: async () => {
      await loaded;
      if (persistence.db) await passThrough(persistence.db);
    },
    destroy: () => void persistence.destroy().catch(() => undefined),
    forget: async () => {
      const removed = persistence.destroy().then(() => clearDocument(name));
      await Promise.race([removed.catch(() => undefined), new Promise((resolve) => setTimeout(resolve, 2000))]);
    },
  };
}
