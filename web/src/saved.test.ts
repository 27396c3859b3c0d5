import { describe, expect, it } from "vitest";
import { START, barrier, changed, closed, denied, echoed, joined, label, lost, networked, opened, sent, type Saved } from "./saved";

function send(state: Saved): Saved {
  const counter = barrier(state);
  return counter === null ? state : sent(state, counter);
}

const online = (): Saved => {
  const asked = send(joined(opened(START)));
  return echoed(asked, asked.sent);
};

describe("saved", () => {
  it("says nothing before the first confirmation", () => {
    expect(label(START)).toBe("connecting");
    expect(barrier(START)).toBeNull();
    const fresh = joined(opened(START));
    expect(label(fresh)).toBe("saving");
    expect(barrier(fresh)).toBe(1);
    expect(label(online())).toBe("saved");
  });

  it("needs an echo of the newest change", () => {
    let state = send(changed(online()));
    const first = state.sent;
    state = send(changed(state));
    expect(state.sent).toBe(first + 1);
    state = echoed(state, first);
    expect(label(state)).toBe("saving");
    state = echoed(state, first + 1);
    expect(label(state)).toBe("saved");
  });

  it("does not take an echo that arrives after a newer change for that change", () => {
    const asked = send(changed(online()));
    expect(label(echoed(changed(asked), asked.sent))).toBe("saving");
  });

  it("does not believe counters that were not sent on this connection", () => {
    const asked = send(changed(online()));
    const again = joined(opened(lost(asked)));
    expect(echoed(again, asked.sent)).toEqual(again);
    expect(label(echoed(again, 2 ** 40))).toBe("saving");
  });

  it("sends a pending counter again after a reconnect, and a confirmed one too", () => {
    for (const before of [send(changed(online())), online()]) {
      const away = lost(before);
      expect(label(away)).toBe("offline");
      expect(barrier(away)).toBeNull();
      const opening = opened(away);
      expect(label(opening)).toBe("connecting");
      expect(barrier(opening)).toBeNull();
      expect(barrier(joined(opening))).toBe(before.made);
      expect(label(joined(opening))).toBe("saving");
    }
  });

  it("sends nothing twice", () => {
    expect(barrier(online())).toBeNull();
    expect(barrier(send(changed(online())))).toBeNull();
  });

  it("stays closed after a refusal", () => {
    const refused = closed(changed(online()));
    expect(label(refused)).toBe("closed");
    expect(label(lost(refused))).toBe("closed");
    expect(barrier(refused)).toBeNull();
  });

  it("calls nothing saved that was refused, until a new connection has had its say", () => {
    const refused = denied(send(changed(online())));
    expect(label(echoed(refused, refused.sent))).toBe("refused");
    const again = send(joined(opened(lost(refused))));
    expect(label(again)).toBe("saving");
    expect(label(echoed(again, again.sent))).toBe("saved");
  });

  it("calls unconfirmed changes offline as soon as the network is gone, but believes an echo more than the browser", () => {
    const cut = networked(send(changed(online())), false);
    expect(label(cut)).toBe("offline");
    expect(label(networked(cut, true))).toBe("saving");
    expect(label(echoed(cut, cut.sent))).toBe("saved"); // the server may be on this very machine
    expect(label(networked(online(), false))).toBe("saved");
  });

  it("never shows saved while a change is unconfirmed, whatever the order of events", () => {
    // Every history of up to seven events; `truth` follows what a durable server would know.
    const events = ["change", "open", "join", "lose", "send", "echo"] as const;
    const walk = (state: Saved, inflight: readonly number[], durable: number, depth: number): void => {
      if (label(state) === "saved") expect(durable).toBe(state.made);
      if (depth === 0) return;
      for (const event of events) {
        if (event === "change") walk(changed(state), inflight, durable, depth - 1);
        if (event === "open") walk(opened(lost(state)), [], 0, depth - 1);
        if (event === "join" && state.link === "connecting") walk(joined(state), inflight, durable, depth - 1);
        if (event === "lose") walk(lost(state), [], 0, depth - 1);
        if (event === "send") {
          const counter = barrier(state);
          if (counter !== null) walk(sent(state, counter), [...inflight, counter], durable, depth - 1);
        }
        if (event === "echo" && inflight[0] !== undefined) {
          walk(echoed(state, inflight[0]), inflight.slice(1), Math.max(durable, inflight[0]), depth - 1);
        }
      }
    };
    walk(START, [], 0, 7);
  });
});
