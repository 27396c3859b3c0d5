/** Who is here: round badges that open a list, in which people change their own name. */
import { useEffect, useId, useRef, useState, type FormEvent } from "react";
import { initials, LONGEST_NAME } from "../names";
import type { Person } from "../presence";

const BADGES = 4;

function Badge({ person }: { person: Person }) {
  return (
    <span className="badge" style={{ backgroundColor: person.color }} aria-hidden="true">
      {initials(person.name)}
    </span>
  );
}

function OwnName({ person, rename }: { person: Person; rename: (name: string) => void }) {
  const field = useId();
  const [draft, setDraft] = useState<string | null>(null);
  const commit = (): void => {
    if (draft !== null) rename(draft);
    setDraft(null);
  };
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    commit();
  };
  return (
    <form className="own-name" onSubmit={submit}>
      <label htmlFor={field}>Your name</label>
      <input
        id={field}
        value={draft ?? person.name}
        maxLength={4 * LONGEST_NAME}
        autoComplete="off"
        onChange={(event) => setDraft(event.target.value)}
        onBlur={commit}
      />
    </form>
  );
}

function useClosing(open: boolean, close: () => void) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const outside = (event: Event): void => {
      if (event.target instanceof Node && !box.current?.contains(event.target)) close();
    };
    const escape = (event: KeyboardEvent): void => {
      if (event.key !== "Escape") return;
      close();
      box.current?.querySelector("button")?.focus();
    };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("keydown", escape);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("keydown", escape);
    };
  }, [open, close]);
  return box;
}

export function People({ people, rename }: { people: readonly Person[]; rename: (name: string) => void }) {
  const [open, setOpen] = useState(false);
  const [close] = useState(() => () => setOpen(false));
  const box = useClosing(open, close);
  const list = useId();
  const self = people.find((person) => person.self);
  const count = people.length === 1 ? "Only you are here" : `${people.length} people are here`;
  const more = people.length - BADGES;
  return (
    <div className="people" ref={box}>
      <button
        type="button"
        className="crowd"
        aria-expanded={open}
        aria-controls={list}
        aria-label={`${count}. Show names`}
        title={people.map((person) => person.name + (person.self ? " (you)" : "")).join("\n")}
        onClick={() => setOpen(!open)}
      >
        {people.slice(0, more === 1 ? BADGES + 1 : BADGES).map((person) => (
          <Badge key={person.id} person={person} />
        ))}
        {more > 1 && <span className="badge more">+{more}</span>}
      </button>
      <div id={list} className="panel" hidden={!open}>
        {self && <OwnName person={self} rename={rename} />}
        <p className="count">{count}</p>
        <ul>
          {people.map((person) => (
            <li key={person.id} data-self={person.self || undefined}>
              <Badge person={person} />
              <span className="name">{person.name}</span>
              {person.self && <span className="you">you</span>}
            </li>
          ))}
        </ul>
      </div>
    </div>
  );
}
