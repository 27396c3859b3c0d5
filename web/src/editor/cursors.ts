/** Carets and selections of others: quill-cursors, with names and colours made safe, and flags that show when they move. */
import QuillCursors from "quill-cursors/core";
import { readable } from "../colors";
import { cleanName } from "../names";

const FLAG_TIME = 2500; // ms that a name stays at a caret after it moved

export class NamedCursors extends QuillCursors {
  private readonly timers = new Map<string, ReturnType<typeof setTimeout>>();

  override createCursor(id: string, name: string, color: string): ReturnType<QuillCursors["createCursor"]> {
    const shown = { name: cleanName(name) || "Guest", color: readable(color, Number(id)) };
    const present = this.cursors().find((cursor) => cursor.id === id);
    // quill-cursors keeps what it has; a person who changes the name is drawn anew.
    if (present && (present.name !== shown.name || present.color !== shown.color)) this.removeCursor(id);
    return super.createCursor(id, shown.name, shown.color);
  }

  override removeCursor(id: string): void {
    clearTimeout(this.timers.get(id));
    this.timers.delete(id);
    super.removeCursor(id);
  }

  /** Shows the name at a caret for a moment. */
  announce(id: string): void {
    if (!this.cursors().some((cursor) => cursor.id === id && cursor.range)) return;
    clearTimeout(this.timers.get(id));
    this.toggleFlag(id, true);
    this.timers.set(
      id,
      setTimeout(() => {
        this.timers.delete(id);
        this.toggleFlag(id, false);
      }, FLAG_TIME),
    );
  }
}
