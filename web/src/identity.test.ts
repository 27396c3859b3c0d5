import { afterEach, describe, expect, it } from "vitest";
import { applyAwarenessUpdate, Awareness, encodeAwarenessUpdate, removeAwarenessStates } from "y-protocols/awareness";
import * as Y from "yjs";
import { PALETTE } from "./colors";
import { Identity } from "./identity";

const open: { destroy(): void }[] = [];

function person(id: number, stored: Record<string, string> = {}) {
  const doc = new Y.Doc();
  doc.clientID = id;
  const awareness = new Awareness(doc);
  const store = new Map(Object.entries(stored));
  const identity = new Identity({
    awareness,
    store: { getItem: (key) => store.get(key) ?? null, setItem: (key, value) => void store.set(key, value) },
    random: (bytes) => bytes.fill(3),
  });
  open.push(identity, awareness, doc);
  return { awareness, identity, store };
}

type Person = ReturnType<typeof person>;

function tell(from: Person, to: Person): void {
  applyAwarenessUpdate(to.awareness, encodeAwarenessUpdate(from.awareness, [from.awareness.clientID]), "test");
}

afterEach(() => {
  for (const thing of open.splice(0)) thing.destroy();
});

describe("identity", () => {
  it("starts with a friendly name and keeps it", () => {
    const ann = person(1);
    expect(ann.identity.people()).toEqual([{ id: 1, name: "Autumn Bobcat", color: PALETTE[3], self: true }]);
    expect(ann.store.get("syncd.name")).toBe("Autumn Bobcat");
    expect(person(2, { "syncd.name": "Ann", "syncd.color": PALETTE[5] as string }).identity.people()).toEqual([
      { id: 2, name: "Ann", color: PALETTE[5], self: true },
    ]);
  });

  it("takes a new name, cleaned, and never none", () => {
    const ann = person(1);
    ann.identity.rename("  Ann\n Lee ");
    expect(ann.identity.people()[0]?.name).toBe("Ann Lee");
    expect(ann.store.get("syncd.name")).toBe("Ann Lee");
    ann.identity.rename("   ");
    expect(ann.identity.people()[0]?.name).toBe("Autumn Bobcat");
  });

  it("gives two people two colours, and the second its own back when the first has left", () => {
    const [ann, bob] = [person(1), person(2)];
    tell(ann, bob);
    tell(bob, ann);
    const colors = bob.identity.people().map(({ color }) => color);
    expect(new Set(colors).size).toBe(2);
    expect(ann.identity.people().map(({ color }) => color).sort()).toEqual([...colors].sort());
    expect(ann.identity.people()[0]?.color).toBe(PALETTE[3]);
    removeAwarenessStates(bob.awareness, [1], "test");
    expect(bob.identity.people()).toEqual([{ id: 2, name: "Autumn Bobcat", color: PALETTE[3], self: true }]);
  });

  it("tells nobody when only a caret moves", () => {
    const [ann, bob] = [person(1), person(2)];
    tell(bob, ann);
    let told = 0;
    ann.identity.subscribe(() => told++);
    const list = ann.identity.people();
    bob.awareness.setLocalStateField("cursor", { anchor: 1, head: 1 });
    tell(bob, ann);
    expect(told).toBe(0);
    expect(ann.identity.people()).toBe(list);
    bob.identity.rename("Bob");
    tell(bob, ann);
    expect(told).toBe(1);
  });

  it("works where storage is forbidden", () => {
    const doc = new Y.Doc();
    const awareness = new Awareness(doc);
    const deny = (): never => {
      throw new Error("denied");
    };
    const identity = new Identity({
      awareness,
      store: { getItem: deny, setItem: deny },
      random: (bytes) => bytes.fill(0),
    });
    open.push(identity, awareness, doc);
    expect(identity.people()[0]?.name).toBe("Amber Badger");
  });
});
