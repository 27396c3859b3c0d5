import { describe, expect, it } from "vitest";
import { roomFromPath, type Room } from "./room";
import { takeToken } from "./token";

function page(hash: string, stored = new Map<string, string>()) {
  const visited: string[] = [];
  return {
    visited,
    location: { hash, pathname: "/d/x", search: "?q=1" },
    history: { replaceState: (_data: unknown, _unused: string, url: string) => void visited.push(url) },
    sessionStorage: {
      getItem: (key: string) => stored.get(key) ?? null,
      setItem: (key: string, value: string) => void stored.set(key, value),
    },
  };
}

const room = roomFromPath("/d/x") as Room;

describe("takeToken", () => {
  it("takes the token out of the address and keeps it for a reload", () => {
    const stored = new Map<string, string>();
    const first = page("#token=abc.def", stored);
    expect(takeToken(first, room)).toBe("abc.def");
    expect(first.visited).toEqual(["/d/x?q=1"]);
    expect(takeToken(page("", stored), room)).toBe("abc.def");
  });

  it("keeps tokens of rooms apart", () => {
    const stored = new Map<string, string>();
    takeToken(page("#token=abc", stored), room);
    expect(takeToken(page("", stored), roomFromPath("/d/y") as Room)).toBeNull();
  });

  it("leaves other fragments alone", () => {
    const other = page("#section");
    expect(takeToken(other, room)).toBeNull();
    expect(other.visited).toEqual([]);
  });

  it("works where storage is forbidden", () => {
    const strict = page("#token=t");
    strict.sessionStorage.getItem = strict.sessionStorage.setItem = () => {
      throw new Error("denied");
    };
    expect(takeToken(strict, room)).toBe("t");
  });
});
