import * as decoding from "lib0/decoding";
import * as encoding from "lib0/encoding";
import { afterEach, describe, expect, it, vi } from "vitest";
import * as awarenessProtocol from "y-protocols/awareness";
import * as sync from "y-protocols/sync";
import * as Y from "yjs";
import { Session } from "./session";
import { connect } from "./transport";

/** The server's end of one socket, driven by the test; replies arrive in later microtasks, as on a network. */
class FakeSocket {
  static opened: FakeSocket[] = [];
  readonly OPEN = 1;
  readyState = 0;
  binaryType = "";
  readonly received: Uint8Array[] = [];
  onopen: (() => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null;

  constructor(readonly url: string) {
    FakeSocket.opened.push(this);
  }

  send(message: Uint8Array): void {
    this.received.push(message);
  }

  close(): void {
    this.readyState = 3;
  }

  accept(): void {
    this.readyState = this.OPEN;
    this.onopen?.();
  }

  drop(code: number, reason = ""): void {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }

  async deliver(write: (encoder: encoding.Encoder) => void): Promise<void> {
    this.onmessage?.({ data: encoding.encode(write).slice().buffer });
    await Promise.resolve();
  }

  /** Message types with, for type 102, the counter. */
  heard(): string[] {
    return this.received.map((message) => {
      const decoder = decoding.createDecoder(message);
      const type = decoding.readVarUint(decoder);
      if (type === 0) return `sync${decoding.readVarUint(decoder)}`;
      if (type !== 102) return `type${type}`;
      return `saved${decoding.readVarUint(decoding.createDecoder(decoding.readVarUint8Array(decoder)))}`;
    });
  }
}

const step1 = (doc: Y.Doc) => (encoder: encoding.Encoder) => {
  encoding.writeVarUint(encoder, 0);
  sync.writeSyncStep1(encoder, doc);
};
const step2 = (doc: Y.Doc) => (encoder: encoding.Encoder) => {
  encoding.writeVarUint(encoder, 0);
  sync.writeSyncStep2(encoder, doc);
};
const echo = (counter: number) => (encoder: encoding.Encoder) => {
  encoding.writeVarUint(encoder, 102);
  encoding.writeVarUint8Array(encoder, encoding.encode((inner) => encoding.writeVarUint(inner, counter)));
};
const denial = (reason: string) => (encoder: encoding.Encoder) => {
  encoding.writeVarUint(encoder, 2);
  encoding.writeVarUint(encoder, 0);
  encoding.writeVarString(encoder, reason);
};

const open: Session[] = [];
const writes: (() => void)[] = [];

function start(kept: boolean, before = ""): Session {
  const session = new Session({
    open: (doc) => {
      const stored = new Y.Doc();
      stored.getText("quill").insert(0, before);
      if (before !== "") Y.applyUpdate(doc, Y.encodeStateAsUpdate(stored), "device");
      return {
        loaded: Promise.resolve(kept),
        settled: () => new Promise((resolve) => writes.push(resolve)),
        destroy: () => undefined,
        forget: () => Promise.resolve(),
      };
    },
    connect: (doc, events) =>
      connect(
        doc,
        { server: "ws://host/ws", room: "a%2Fb", token: "t", WebSocketPolyfill: FakeSocket as unknown as typeof WebSocket },
        events,
      ),
  });
  open.push(session);
  return session;
}

const socket = (): FakeSocket => FakeSocket.opened[FakeSocket.opened.length - 1] as FakeSocket;

async function join(server = new Y.Doc()): Promise<void> {
  socket().accept();
  await socket().deliver(step1(server));
  await socket().deliver(step2(server));
}

const tick = (): Promise<void> => vi.advanceTimersByTimeAsync(100) as unknown as Promise<void>;

vi.useFakeTimers();

afterEach(() => {
  for (const session of open.splice(0)) session.destroy();
  FakeSocket.opened = [];
  writes.length = 0;
});

describe("a session", () => {
  it("asks for a confirmation when it joins and after every burst of changes", async () => {
    const session = start(true);
    await join();
    expect(socket().url).toBe("ws://host/ws/a%2Fb?token=t");
    expect(socket().heard()).toEqual(["sync0", "type1", "sync1", "saved1"]);
    expect(session.view()).toMatchObject({ ready: true, saved: "saving" });
    await socket().deliver(echo(1));
    expect(session.view().saved).toBe("saved");

    session.text.insert(0, "a");
    session.text.insert(1, "b");
    expect(session.view().saved).toBe("saving");
    await tick();
    expect(socket().heard().slice(4)).toEqual(["sync2", "sync2", "saved3"]);
    await socket().deliver(echo(3));
    expect(session.view().saved).toBe("saved");
  });

  it("is not joined before the server has asked for what it lacks", async () => {
    const session = start(true, "written offline");
    const server = new Y.Doc();
    socket().accept();
    await socket().deliver(step2(server));
    expect(session.view().saved).toBe("connecting");
    expect(socket().heard()).not.toContain("saved2");
    await socket().deliver(step1(server));
    expect(socket().heard().slice(-2)).toEqual(["sync1", "saved1"]);
  });

  it("sends the pending counter again on the next socket", async () => {
    const session = start(true);
    await join();
    await socket().deliver(echo(1));
    session.text.insert(0, "x");
    await tick();
    const first = socket();
    first.drop(1006);
    expect(session.view().saved).toBe("offline");
    await vi.advanceTimersByTimeAsync(4000);
    expect(socket()).not.toBe(first);
    await first.deliver(echo(2));
    expect(session.view().saved).toBe("offline");
    await join();
    expect(socket().heard().filter((name) => name.startsWith("saved"))).toEqual(["saved2"]);
    expect(session.view().saved).toBe("saving");
    await socket().deliver(echo(2));
    expect(session.view().saved).toBe("saved");
  });

  it("does not offer an empty page while the server may still have content", async () => {
    const session = start(true);
    await Promise.resolve();
    expect(session.view().ready).toBe(false);
    socket().accept();
    await Promise.resolve();
    expect(session.view().ready).toBe(false);
    socket().drop(1006);
    expect(session.view()).toMatchObject({ ready: true, saved: "offline" });
  });

  it("opens from the device's copy at once", async () => {
    const session = start(true, "hello");
    await Promise.resolve();
    expect(session.view()).toMatchObject({ ready: true, saved: "connecting" });
  });

  it("says when this browser keeps no copy", async () => {
    const session = start(false);
    await Promise.resolve();
    expect(session.view()).toMatchObject({ ready: false, kept: false });
  });

  it("shows a refusal and stays closed", async () => {
    const session = start(true, "text");
    socket().accept();
    await socket().deliver(denial("no such document"));
    expect(session.view().notice).toEqual({ code: null, reason: "no such document" });
    socket().drop(4404);
    expect(session.view()).toMatchObject({
      ready: true,
      saved: "closed",
      notice: { code: 4404, reason: "no such document" },
    });
    session.dismiss();
    expect(session.view().notice).not.toBeNull();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeSocket.opened).toHaveLength(1);
  });

  it("does not claim that changes are kept before this device has written them", async () => {
    const session = start(true);
    await join();
    session.text.insert(0, "x");
    socket().drop(1006);
    expect(session.view()).toMatchObject({ saved: "offline", stored: false });
    session.text.insert(1, "y"); // while the first write is under way
    writes.shift()?.();
    await Promise.resolve();
    await Promise.resolve();
    expect(session.view().stored).toBe(false);
    writes.shift()?.();
    await Promise.resolve();
    await Promise.resolve();
    expect(session.view().stored).toBe(true);
    expect(writes).toHaveLength(0);
    session.text.insert(2, "z");
    expect(session.view().stored).toBe(false);
    expect(writes).toHaveLength(1);
  });

  it("says so when the server cannot take a message", async () => {
    const session = start(true);
    await join();
    socket().drop(1009, "message too large");
    expect(session.view().notice).toEqual({ code: null, reason: "message too large" });
  });

  it("has nothing to show of a document that it may not see", async () => {
    const session = start(true);
    await Promise.resolve();
    socket().accept();
    socket().drop(4403, "no access");
    expect(session.view()).toMatchObject({ ready: false, saved: "closed", notice: { code: 4403, reason: "no access" } });
  });

  it("goes on after a refusal that leaves the socket open", async () => {
    const session = start(true);
    await join();
    await socket().deliver(denial("read only"));
    expect(session.view()).toMatchObject({ saved: "refused", notice: { code: null, reason: "read only" } });
    await socket().deliver(echo(1));
    expect(session.view()).toMatchObject({ saved: "refused", notice: { code: null } });
    session.dismiss();
    expect(session.view().notice).toBeNull();

    await socket().deliver(denial("too much"));
    socket().drop(1013);
    expect(session.view().notice).not.toBeNull();
    await vi.advanceTimersByTimeAsync(4000);
    await join();
    await socket().deliver(echo(1));
    expect(session.view()).toMatchObject({ saved: "saved", notice: null });
  });

  it("publishes only its own presence, and sees others again right after a reconnect", async () => {
    const session = start(true);
    await join();
    const { awareness } = session.transport;
    const other = new awarenessProtocol.Awareness(new Y.Doc());
    other.setLocalStateField("user", { name: "Ann" });
    const announceOther = (encoder: encoding.Encoder) => {
      encoding.writeVarUint(encoder, 1);
      encoding.writeVarUint8Array(encoder, awarenessProtocol.encodeAwarenessUpdate(other, [other.clientID]));
    };
    const before = socket().received.length;
    await socket().deliver(announceOther);
    expect(awareness.getStates().has(other.clientID)).toBe(true);
    expect(socket().received.length).toBe(before);
    awareness.setLocalStateField("user", { name: "Me" });
    expect(socket().heard().slice(before)).toEqual(["type1"]);

    socket().drop(1006);
    expect(awareness.getStates().has(other.clientID)).toBe(false);
    await vi.advanceTimersByTimeAsync(4000);
    socket().accept();
    await socket().deliver(announceOther);
    expect(awareness.getStates().has(other.clientID)).toBe(true);
    other.destroy();
  });
});
