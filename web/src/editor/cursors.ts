/** Carets and selections of others: quill-cursors, with names and colours made safe, and flags that show when they move. */
import QuillCursors, { type Cursor } from "quill-cursors/core";
import { readable } from "../colors";
import { cleanName } from "../names";

const FLAG_TIME = 2500; // ms that a name stays at a caret after it moved

export class NamedCursors extends QuillCursors {
  private readonly timers = new Map<string, ReturnType<typeof setTimeout>>();
  private readonly shown = new Map<string, Cursor>();

  override createCursor(id: string, name: string, color: string): Cursor {
    const [safeName, safeColor] = [cleanName(name) || "Guest", readable(color, Number(id))];
    const present = this.shown.get(id);
    if (present?.name === safeName && present.color === safeColor) return present;
    // quill-cursors keeps what it has; a person who changes the name is drawn anew.
    if (present) this.removeCursor(id);
    const cursor = super.createCursor(id, safeName, safeColor);
    this.shown.set(id, cursor);
    return cursor;
  }

  override removeCursor(id: string): void {
    clearTimeout(this.timers.get(id));
    this.timers.delete(id);
    this.shown.delete(id);
    super.removeCursor(id);
  }

  /** Shows the name at a caret for a moment. */
  announce(id: string): void {
    if (!this.shown.get(id)?.range) return;
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
