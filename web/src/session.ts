/** One open document: its content, its copy on this device, its connection, and what the page may say about them. */
import * as Y from "yjs";
import type { Device } from "./device";
import * as saved from "./saved";
import type { Transport, TransportEvents } from "./transport";

const BARRIER_DELAY = 100; // ms; one barrier answers for a burst of keystrokes

/** A message of the server that people should read. */
export interface Notice {
  /** Close code 4400-4499, or null for a refusal that left the connection open. */
  readonly code: number | null;
  readonly reason: string;
}

export interface SessionView {
  /** There is something to show: the editor may be bound to the document. */
  readonly ready: boolean;
  readonly saved: saved.SavedLabel;
  /** Whether this browser keeps a copy; null until known. */
  readonly kept: boolean | null;
  /** Whether all changes are in that copy. Only kept up to date while there is no connection. */
  readonly stored: boolean;
  readonly notice: Notice | null;
}

export interface SessionParts {
  connect(doc: Y.Doc, events: TransportEvents): Transport;
  open(doc: Y.Doc, onFull: () => void): Device;
}

export class Session {
  readonly doc = new Y.Doc();
  /** The shared text; the name is the one that Quill documents conventionally have. */
  readonly text = this.doc.getText("quill");
  readonly transport: Transport;
  private readonly device: Device;
  private state = saved.START;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private version = 0;
  private storing = false;
  private readonly listeners = new Set<() => void>();
  private current: SessionView = { ready: false, saved: "connecting", kept: null, stored: true, notice: null };

  constructor(parts: SessionParts) {
    this.device = parts.open(this.doc, () => this.show({ kept: false }));
    void this.device.loaded.then((kept) => {
      this.show({ kept });
      this.consider();
    });
    this.doc.on("update", this.onUpdate);
    this.transport = parts.connect(this.doc, this.events());
  }

  readonly view = (): SessionView => this.current;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** Takes a refusal that left the connection open off the page. */
  readonly dismiss = (): void => {
    if (this.current.notice?.code === null) this.show({ notice: null });
  };

  /** The browser has lost its network, or found one. */
  readonly setNetwork = (network: boolean): void => {
    this.step(saved.networked(this.state, network));
    void this.store();
  };

  /** Removes the copy of this document from this device; afterwards the session is of no use. */
  async forget(): Promise<void> {
    this.destroy();
    await this.device.forget();
  }

  destroy(): void {
    clearTimeout(this.timer);
    this.listeners.clear();
    this.transport.destroy();
    this.device.destroy();
    this.doc.destroy();
  }

  private events(): TransportEvents {
    return {
      opened: () => this.step(saved.opened(this.state)),
      joined: () => {
        this.step(saved.joined(this.state));
        this.sendBarrier();
        this.show({ ready: true });
      },
      lost: () => {
        this.step(saved.lost(this.state));
        void this.store();
      },
      refused: (code, reason) => {
        this.step(saved.closed(this.state));
        // A refusal that came as a message just before the close says more than the close itself.
        this.show({ notice: { code, reason: reason || this.current.notice?.reason || "" } });
      },
      denied: (reason) => {
        this.step(saved.denied(this.state));
        this.show({ notice: { code: null, reason } });
      },
      echoed: (counter) => {
        this.step(saved.echoed(this.state, counter));
        if (this.current.saved === "saved") this.dismiss(); // what an earlier connection refused went through on this one
      },
      carried: () => {
        this.step(saved.changed(this.state));
        this.timer ??= setTimeout(() => this.sendBarrier(), BARRIER_DELAY);
      },
    };
  }

  private sendBarrier(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    const counter = saved.barrier(this.state);
    if (counter !== null && this.transport.sendBarrier(counter)) this.step(saved.sent(this.state, counter));
  }

  private readonly onUpdate = (): void => {
    this.version += 1;
    this.show({ stored: false });
    if (this.state.link !== "joined" || !this.state.network) void this.store();
  };

  /** Waits until the copy on this device has everything, and says so. */
  private async store(): Promise<void> {
    if (this.storing) return;
    this.storing = true;
    let seen: number;
    do {
      seen = this.version;
      await this.device.settled();
    } while (seen !== this.version);
    this.storing = false;
    this.show({ stored: true });
  }

  private step(state: saved.Saved): void {
    this.state = state;
    this.show({ saved: saved.label(state) });
    this.consider();
  }

  /**
   * An empty copy on this device says nothing about the document: the editor waits for the server. Only when the
   * server cannot be had is an empty page offered, and then the status says so.
   */
  private consider(): void {
    const { kept, ready, saved: label } = this.current;
    if (ready || kept === null) return;
    const known = this.doc.store.clients.size > 0;
    if (known || label === "offline") this.show({ ready: true });
  }

  private show(change: Partial<SessionView>): void {
    const next = { ...this.current, ...change };
    if (Object.entries(change).every(([key, value]) => this.current[key as keyof SessionView] === value)) return;
    this.current = next;
    for (const listener of this.listeners) listener();
  }
}
