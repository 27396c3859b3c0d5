import { describe, expect, it } from "vitest";
import { newRoom, pageOf, roomFromPath, socketBase } from "./room";
import { ADJECTIVES, ANIMALS } from "./words";

describe("roomFromPath", () => {
  it.each([
    ["/d/notes", "notes", "notes"],
    ["/d/team/plan", "team/plan", "team/plan"],
    ["/d/team%2Fplan", "team%2Fplan", "team/plan"],
    ["/d/two%20words", "two%20words", "two words"],
    ["/d/ä ö", "%C3%A4%20%C3%B6", "ä ö"],
    ["/d/%F0%9F%91%A9", "%F0%9F%91%A9", "👩"],
    ["/d/what%3Fx=1%23y", "what%3Fx%3D1%23y", "what?x=1#y"],
    ["/d/100%", "100%25", "100%"],
    ["/d/a//b", "a//b", "a//b"],
  ])("%s", (path, canonical, label) => {
    expect(roomFromPath(path)).toEqual({ path: canonical, label });
  });

  it.each(["/", "/d", "/d/", "/d//", "/x/y"])("%s names no room", (path) => {
    expect(roomFromPath(path)).toBeNull();
  });

  it("keeps a slash and an encoded slash apart", () => {
    expect(roomFromPath("/d/a/b")?.path).not.toBe(roomFromPath("/d/a%2Fb")?.path);
  });

  it("has one canonical form that survives another round", () => {
    for (const path of ["/d/ä ö/%2F?", "/d/100%", "/d/a%20b", "/d/x#y"]) {
      const room = roomFromPath(path);
      expect(room).not.toBeNull();
      if (room) expect(roomFromPath(pageOf(room))).toEqual(room);
    }
  });
});

describe("newRoom", () => {
  it("is readable and uses every random byte", () => {
    const zero = newRoom((bytes) => bytes.fill(0));
    expect(zero.path).toBe("amber-badger-0000-0000-0000");
    const seen = new Set([zero.path]);
    for (let at = 0; at < 14; at++) {
      seen.add(
        newRoom((bytes) => {
          bytes[at] = 7;
          return bytes;
        }).path,
      );
    }
    expect(seen.size).toBe(15);
    expect(roomFromPath(pageOf(zero))).toEqual(zero);
  });

  it("has lists that six bits index without bias", () => {
    for (const words of [ADJECTIVES, ANIMALS]) {
      expect(words).toHaveLength(64);
      expect(new Set(words).size).toBe(64);
      for (const word of words) expect(word).toMatch(/^[a-z]+$/);
    }
  });
});

describe("socketBase", () => {
  it("follows the page's protocol", () => {
    expect(socketBase({ protocol: "http:", host: "localhost:8000" })).toBe("ws://localhost:8000/ws");
    expect(socketBase({ protocol: "https:", host: "docs.example" })).toBe("wss://docs.example/ws");
  });
});
