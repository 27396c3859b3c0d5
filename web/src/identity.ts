/** The person at this browser: a name and a colour, kept in local storage and announced to everybody in the document. */
import type { Awareness } from "y-protocols/awareness";
import { PALETTE } from "./colors";
import { cleanName, friendlyName } from "./names";
import { ownColor, people, type Person } from "./presence";

const NAME = "syncd.name";
const COLOR = "syncd.color";

type Store = Pick<Storage, "getItem" | "setItem">;

export interface IdentityParts {
  readonly awareness: Awareness;
  readonly store: Store;
  readonly random: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array;
}

function recall(store: Store, key: string): string | null {
  try {
    return store.getItem(key);
  } catch {
    return null; // storage may be forbidden
  }
}

function remember(store: Store, key: string, value: string): void {
  try {
    store.setItem(key, value);
  } catch {
    // the choice then lasts as long as the page
  }
}

function sameList(one: readonly Person[], other: readonly Person[]): boolean {
  return one.length === other.length && JSON.stringify(one) === JSON.stringify(other);
}

export class Identity {
  private name: string;
  private readonly preferred: string;
  private current: readonly Person[] = [];
  private readonly listeners = new Set<() => void>();

  constructor(private readonly parts: IdentityParts) {
    const { awareness, store, random } = parts;
    this.name = cleanName(recall(store, NAME)) || friendlyName(random);
    const color = recall(store, COLOR);
    this.preferred =
      color && PALETTE.includes(color) ? color : (PALETTE[(random(new Uint8Array(1))[0] ?? 0) % PALETTE.length] ?? "");
    remember(store, NAME, this.name);
    remember(store, COLOR, this.preferred);
    awareness.on("change", this.refresh);
    this.publish(this.preferred);
  }

  /** Everybody present, this page first. The list is the same object until something in it changes. */
  readonly people = (): readonly Person[] => this.current;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** Takes a new name for this person; one with nothing in it becomes a friendly one. */
  readonly rename = (name: string): void => {
    this.name = cleanName(name) || friendlyName(this.parts.random);
    remember(this.parts.store, NAME, this.name);
    this.publish(this.color());
  };

  destroy(): void {
    this.parts.awareness.off("change", this.refresh);
    this.listeners.clear();
  }

  private color(): string {
    const { awareness } = this.parts;
    return ownColor(awareness.getStates(), awareness.clientID, this.preferred);
  }

  private publish(color: string): void {
    this.parts.awareness.setLocalStateField("user", { name: this.name, color });
  }

  private readonly refresh = (): void => {
    const { awareness } = this.parts;
    const announced = awareness.getLocalState()?.user as { color?: string } | undefined;
    const color = this.color();
    if (announced && announced.color !== color) {
      this.publish(color); // comes back here with the new colour
      return;
    }
    const next = people(awareness.getStates(), awareness.clientID);
    if (sameList(next, this.current)) return;
    this.current = next;
    for (const listener of this.listeners) listener();
  };
}
