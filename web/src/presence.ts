/** Who is here: the states that Yjs awareness carries, made safe to show. */
import { freeColor, readable } from "./colors";
import { cleanName } from "./names";

export interface Person {
  readonly id: number;
  readonly name: string;
  readonly color: string;
  readonly self: boolean;
}

export interface User {
  readonly name: string;
  readonly color: string;
}

type States = ReadonlyMap<number, Readonly<Record<string, unknown>>>;

/** The `user` field of one state; other clients may have put anything there. */
export function userOf(state: Readonly<Record<string, unknown>> | undefined, id: number): User {
  const user = state?.user;
  const fields = typeof user === "object" && user !== null ? (user as Readonly<Record<string, unknown>>) : {};
  return { name: cleanName(fields.name) || "Guest", color: readable(fields.color, id) };
}

/** Everybody present, this page first, then by name. */
export function people(states: States, self: number): readonly Person[] {
  return Array.from(states, ([id, state]) => ({ id, ...userOf(state, id), self: id === self })).sort(
    (one, other) => Number(other.self) - Number(one.self) || one.name.localeCompare(other.name) || one.id - other.id,
  );
}

/**
 * The colour this page should show. When two want the same one, the one with the lower client id keeps it: both sides
 * decide alike without talking.
 */
export function ownColor(states: States, self: number, preferred: string): string {
  const taken = new Set<string>();
  const yieldTo = new Set<string>();
  for (const [id, state] of states) {
    if (id === self) continue;
    const { color } = userOf(state, id);
    taken.add(color);
    if (id < self) yieldTo.add(color);
  }
  return yieldTo.has(preferred) ? freeColor(preferred, taken) : preferred;
}
