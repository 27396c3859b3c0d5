// Bytes that another Yjs client could send, made with the packages of the web client.
import { createRequire } from "node:module";

const require = createRequire(new URL("../../../web/package.json", import.meta.url));
const Y = require("yjs");
const encoding = require("lib0/encoding");
const sync = require("y-protocols/sync");
const { Awareness, encodeAwarenessUpdate } = require("y-protocols/awareness");

/** A sync message with one update: what `write` does to the shared text of an empty document. */
export function edit(write) {
  const doc = new Y.Doc();
  write(doc.getText("quill"), Y);
  return Buffer.from(
    encoding.encode((encoder) => {
      encoding.writeVarUint(encoder, 0);
      sync.writeUpdate(encoder, Y.encodeStateAsUpdate(doc));
    }),
  );
}

/** A presence message of a client that nobody knows, with any state. */
export function presence(state) {
  const awareness = new Awareness(new Y.Doc());
  awareness.setLocalState({});
  awareness.setLocalState(state);
  const message = encoding.encode((encoder) => {
    encoding.writeVarUint(encoder, 1);
    encoding.writeVarUint8Array(encoder, encodeAwarenessUpdate(awareness, [awareness.clientID]));
  });
  awareness.destroy();
  return Buffer.from(message);
}
