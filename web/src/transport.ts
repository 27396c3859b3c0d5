/**
 * The websocket under a document: y-websocket's provider with the message types and the care that syncd adds.
 *
 * - type 102: durability barriers (see saved.ts)
 * - type 2: refusals are shown to people instead of going to the console
 * - presence: only this page's own state is published. The stock handler re-sends every state it hears, and tells sibling
 *   tabs that everybody has left when its own socket drops.
 * - edits that a sibling tab hands over by BroadcastChannel also go to the server, since the sibling may have no socket
 */
import * as bc from "lib0/broadcastchannel";
import * as decoding from "lib0/decoding";
import * as encoding from "lib0/encoding";
import { encodeAwarenessUpdate, type Awareness } from "y-protocols/awareness";
import { messageYjsSyncStep1, writeUpdate } from "y-protocols/sync";
import { messageAuth, messageAwareness, messageSync, WebsocketProvider } from "y-websocket";
import type * as Y from "yjs";

const messageSaved = 102;
const UNACCEPTABLE = [1007, 1009]; // RFC 6455: what was sent is invalid, or too big

export interface TransportEvents {
  /** A socket opened; the exchange of what both sides have begins. */
  opened(): void;
  /** Both sides have what the other had. */
  joined(): void;
  /** The socket is gone or could not be opened; the provider keeps trying. */
  lost(): void;
  /** The server refused for good (close code 4400-4499); the provider has stopped. */
  refused(code: number, reason: string): void;
  /** The server refused something and said why; the socket may stay open. */
  denied(reason: string): void;
  /** The server echoed a barrier. */
  echoed(counter: number): void;
  /** A change goes to the server over this page's socket (now, or once there is one). */
  carried(): void;
}

export interface TransportOptions {
  /** Websocket address without the room, such as `wss://host/ws`. */
  readonly server: string;
  /** Canonical room path (room.ts). */
  readonly room: string;
  readonly token: string | null;
  readonly WebSocketPolyfill?: typeof WebSocket;
}

export interface Transport {
  readonly awareness: Awareness;
  /** Sends a barrier; false if there is no open socket. */
  sendBarrier(counter: number): boolean;
  destroy(): void;
}

type Handler = WebsocketProvider["messageHandlers"][number];

function createProvider(doc: Y.Doc, options: TransportOptions): WebsocketProvider {
  return new WebsocketProvider(options.server, options.room, doc, {
    connect: false,
    params: options.token === null ? {} : { token: options.token },
    // Tabs with tokens may have different rights; what one may read must not reach the other past the server.
    disableBc: options.token !== null,
    // Without a spread, all pages of a restarted server come back in the same instant.
    maxBackoffTime: 2000 + Math.random() * 1500,
    ...(options.WebSocketPolyfill ? { WebSocketPolyfill: options.WebSocketPolyfill } : {}),
  });
}

function sendToServer(provider: WebsocketProvider, message: Uint8Array): boolean {
  const socket = provider.ws;
  if (!provider.wsconnected || socket === null || socket.readyState !== socket.OPEN) return false;
  socket.send(message as Uint8Array<ArrayBuffer>);
  return true;
}

/** Publishes this page's presence, and nobody else's. */
function publishOwnPresence(provider: WebsocketProvider): void {
  const { awareness } = provider;
  const own = awareness.clientID;
  awareness.off("update", provider._awarenessUpdateHandler);
  provider._awarenessUpdateHandler = ({ added, updated, removed }: Record<string, number[]>) => {
    if (![added, updated, removed].some((ids) => ids?.includes(own))) return;
    const message = encoding.encode((encoder) => {
      encoding.writeVarUint(encoder, messageAwareness);
      encoding.writeVarUint8Array(encoder, encodeAwarenessUpdate(awareness, [own]));
    });
    sendToServer(provider, message);
    if (provider.bcconnected) bc.publish(provider.bcChannel, message, provider);
  };
  awareness.on("update", provider._awarenessUpdateHandler);
}

/**
 * Forgets the clocks of people who are out of sight. Otherwise the same states, repeated by the server after a
 * reconnect, count as old news and everybody stays invisible until their next renewal, 15 s later.
 */
function forgetAbsent(awareness: Awareness): void {
  for (const id of awareness.meta.keys()) {
    if (id !== awareness.clientID && !awareness.states.has(id)) awareness.meta.delete(id);
  }
}

/** Which part of the exchange with the server has happened on the socket that is open now. */
class Exchange {
  /** Set while a message from a sibling tab is being applied. */
  fromSibling = false;
  private uploaded = false;
  private joined = false;

  constructor(
    private readonly provider: WebsocketProvider,
    private readonly events: TransportEvents,
  ) {}

  reset(): void {
    this.uploaded = this.joined = false;
  }

  /** The server asked for what it lacks; the answer leaves when the message's handler has returned. */
  asked(): void {
    this.uploaded = true;
  }

  /** Joined means: their state arrived (synced), and ours was asked for and sent. */
  readonly settle = (): void => {
    if (this.joined || !this.uploaded || !this.provider.synced) return;
    this.joined = true;
    this.events.joined();
  };
}

/** Replaces the provider's handlers where syncd says more than the stock protocol. */
function handleMessages(provider: WebsocketProvider, exchange: Exchange, events: TransportEvents): void {
  const handlers = provider.messageHandlers;
  const stockSync = handlers[messageSync] as Handler;
  handlers[messageSync] = (encoder, decoder, self, overSocket, type) => {
    const asked = decoding.peekVarUint(decoder) === messageYjsSyncStep1;
    exchange.fromSibling = !overSocket;
    try {
      stockSync(encoder, decoder, self, overSocket, type);
    } finally {
      exchange.fromSibling = false;
    }
    if (overSocket && asked) exchange.asked();
    if (overSocket) queueMicrotask(exchange.settle); // after the reply to this message
  };
  handlers[messageAuth] = (_encoder, decoder, _self, overSocket) => {
    const denial = decoding.readVarUint(decoder) === 0;
    if (denial && overSocket) events.denied(decoding.readVarString(decoder));
  };
  handlers[messageSaved] = (_encoder, decoder, _self, overSocket) => {
    const counter = decoding.readVarUint(decoding.createDecoder(decoding.readVarUint8Array(decoder)));
    if (overSocket) events.echoed(counter);
  };
}

function followConnection(provider: WebsocketProvider, exchange: Exchange, events: TransportEvents): void {
  provider.on("status", ({ status }) => {
    if (status === "connected") events.opened();
    if (status === "disconnected") forgetAbsent(provider.awareness);
  });
  provider.on("connection-close", (event) => {
    exchange.reset();
    // The provider will come back with the same bytes and be closed again; people should know why.
    if (event && UNACCEPTABLE.includes(event.code)) events.denied(event.reason);
    const final = event !== null && !provider.shouldReconnect(event, provider);
    if (!final) events.lost(); // else `closed` follows, with the reason
  });
  provider.on("closed", ({ code, reason }) => events.refused(code, reason));
}

/** Sends what a sibling tab handed over, and reports every change that this page's socket carries. */
function followChanges(doc: Y.Doc, provider: WebsocketProvider, exchange: Exchange, events: TransportEvents): () => void {
  const onUpdate = (update: Uint8Array, origin: unknown): void => {
    if (origin === provider && !exchange.fromSibling) return;
    if (exchange.fromSibling) {
      const message = encoding.encode((encoder) => {
        encoding.writeVarUint(encoder, messageSync);
        writeUpdate(encoder, update);
      });
      sendToServer(provider, message);
    }
    events.carried();
  };
  doc.on("update", onUpdate);
  return () => doc.off("update", onUpdate);
}

function encodeBarrier(counter: number): Uint8Array {
  return encoding.encode((encoder) => {
    encoding.writeVarUint(encoder, messageSaved);
    encoding.writeVarUint8Array(encoder, encoding.encode((inner) => encoding.writeVarUint(inner, counter)));
  });
}

/** Connects a document. The events start with the first attempt; `destroy` ends everything. */
export function connect(doc: Y.Doc, options: TransportOptions, events: TransportEvents): Transport {
  const provider = createProvider(doc, options);
  const exchange = new Exchange(provider, events);
  handleMessages(provider, exchange, events);
  followConnection(provider, exchange, events);
  const releaseChanges = followChanges(doc, provider, exchange, events);
  publishOwnPresence(provider);
  provider.connect();
  return {
    awareness: provider.awareness,
    sendBarrier: (counter) => sendToServer(provider, encodeBarrier(counter)),
    destroy: () => {
      releaseChanges();
      provider.destroy();
      provider.awareness.destroy();
    },
  };
}
