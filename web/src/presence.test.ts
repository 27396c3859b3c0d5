import { describe, expect, it } from "vitest";
import { contrast, luminance, PALETTE, readable } from "./colors";
import { cleanName, friendlyName, initials, LONGEST_NAME } from "./names";
import { ownColor, people, userOf } from "./presence";

const PAPER = { light: "#ffffff", dark: "#1d2024" };

describe("colours", () => {
  it("are distinct, carry white text and show on both papers", () => {
    expect(new Set(PALETTE).size).toBe(PALETTE.length);
    for (const color of PALETTE) {
      expect(contrast(color, "#ffffff"), color).toBeGreaterThanOrEqual(4.5);
      expect(contrast(color, PAPER.light), color).toBeGreaterThanOrEqual(3);
      expect(contrast(color, PAPER.dark), color).toBeGreaterThanOrEqual(3);
    }
  });

  it("leave the palette as it is", () => {
    for (const color of PALETTE) expect(readable(color, 0)).toBe(color);
  });

  it.each(["#ffff00", "#ffffff", "#000000", "#0000ff", "#30bced", "#6eeb83", "#1b1b1b", "#30bced33"])(
    "%s of another client becomes readable",
    (color) => {
      const shown = readable(color, 0);
      expect(contrast(shown, "#ffffff")).toBeGreaterThanOrEqual(4.5);
      expect(contrast(shown, PAPER.dark)).toBeGreaterThanOrEqual(3);
    },
  );

  it.each([undefined, null, 7, {}, "red", "url(x)", "#fff", "#12345g", "expression(alert(1))"])(
    "%s is no colour and becomes one of the palette",
    (color) => {
      expect(PALETTE).toContain(readable(color, 5));
      expect(PALETTE).toContain(readable(color, -3));
      expect(PALETTE).toContain(readable(color, 2 ** 52));
    },
  );

  it("computes luminance as WCAG does", () => {
    expect(luminance("#ffffff")).toBeCloseTo(1, 6);
    expect(contrast("#ffffff", "#000000")).toBeCloseTo(21, 6);
    expect(contrast("#777777", "#ffffff")).toBeCloseTo(4.48, 2);
  });
});

describe("names", () => {
  it.each([
    ["  Ada   Lovelace ", "Ada Lovelace"],
    ["two\nlines\u2028three", "two lines three"],
    ["\u202Eevil", "evil"],
    ["", ""],
    ["\u200b\u0000", ""],
    ["👩‍👩‍👧‍👦 Ann", "👩‍👩‍👧‍👦 Ann"],
    ["half \ud83d", "half"],
    ["<b>Bob</b>", "<b>Bob</b>"],
    [42, ""],
    [{ name: "x" }, ""],
  ])("%j becomes %j", (name, clean) => {
    expect(cleanName(name)).toBe(clean);
  });

  it("are bounded in characters as people count them", () => {
    expect(cleanName("x".repeat(1_000_000))).toHaveLength(LONGEST_NAME);
    expect(cleanName("👨‍👩‍👧".repeat(40))).toBe("👨‍👩‍👧".repeat(LONGEST_NAME));
  });

  it("cannot stack marks over their neighbours", () => {
    expect(cleanName("Z" + "\u0301".repeat(50)).length).toBeLessThan(6);
  });

  it("have a friendly default and initials", () => {
    expect(friendlyName((bytes) => bytes.fill(52))).toBe("Rapid Pelican");
    expect(initials("Quiet Otter")).toBe("QO");
    expect(initials("ada augusta lovelace")).toBe("AL");
    expect(initials("Bo")).toBe("B");
    expect(initials("👩‍🚀 Sally")).toBe("👩‍🚀S");
    expect(initials("")).toBe("");
  });
});

describe("presence", () => {
  const state = (name: unknown, color: unknown = PALETTE[0]) => ({ user: { name, color } });

  it("lists this page first, then everybody by name", () => {
    const states = new Map([[9, state("Zoe")], [4, state("Bob")], [5, state("Me")], [2, state("Ann")]]);
    expect(people(states, 5).map((person) => person.name)).toEqual(["Me", "Ann", "Bob", "Zoe"]);
  });

  it.each([undefined, {}, { user: null }, { user: "x" }, { user: [] }, { user: { name: [], color: 3 } }])(
    "shows %j as a guest",
    (strange) => {
      expect(userOf(strange, 3)).toEqual({ name: "Guest", color: PALETTE[3] });
    },
  );

  it("gives way to the lower id when two have one colour, so that exactly one moves", () => {
    const [first, second] = [PALETTE[0] as string, PALETTE[1] as string];
    const states = new Map([[1, state("a", first)], [2, state("b", first)], [3, state("c", second)]]);
    expect(ownColor(states, 1, first)).toBe(first);
    const moved = ownColor(states, 2, first);
    expect(moved).not.toBe(first);
    expect(moved).not.toBe(second);
    expect(ownColor(states, 3, second)).toBe(second);
  });

  it("keeps the preferred colour when all are taken", () => {
    const crowd = new Map(PALETTE.map((color, id) => [id, state(`p${id}`, color)]));
    expect(ownColor(crowd, 99, PALETTE[4] as string)).toBe(PALETTE[4]);
  });
});
