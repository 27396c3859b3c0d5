/**
 * Kinds of lines. Quill's lines are one of: heading, list, quote, code, or plain. In a shared text these are separate
 * attributes, so a line can have several: two people choose at once, or an editor sets one without taking off the other.
 * Then every page would show what it happened to hear last. Here a change of kind takes the other kinds off, and a line
 * that has several nevertheless is shown as the first of them in the order below, by everybody.
 */
type Attributes = Record<string, unknown>;

const KINDS: readonly string[] = ["code-block", "list", "blockquote", "header"];

/** Attributes to show: one kind of line at most, in the forms that Quill reports, without those that are switched off. */
export function shown(attributes: Attributes): Attributes {
  const kind = KINDS.find((name) => attributes[name]);
  const kept = Object.entries(attributes).filter(([name, value]) => {
    if (value === null || value === false) return false;
    return !KINDS.includes(name) || name === kind;
  });
  return Object.fromEntries(
    kept.map(([name, value]) => {
      if (name === "header") return [name, Number(value)];
      return [name, name === "code-block" || name === "blockquote" ? true : value];
    }),
  );
}

/** The attributes of a change, with the other kinds of line taken off where one is set. */
export function oneKind(attributes: Attributes): Attributes {
  if (!KINDS.some((name) => attributes[name])) return attributes;
  const others = KINDS.filter((name) => !attributes[name]).map((name) => [name, null]);
  return { ...attributes, ...Object.fromEntries(others) };
}
