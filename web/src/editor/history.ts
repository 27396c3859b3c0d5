/** Undo and redo of this person's own edits, in the place of Quill's history, which would take back those of others. */
import { Module, type default as Quill } from "quill/core";
import type Delta from "quill-delta";
import type { UndoManager } from "yjs";
import { changeEnd } from "./changes";

export class SharedHistory extends Module {
  private manager: UndoManager | null = null;

  constructor(quill: Quill, options: object) {
    super(quill, options);
    const { keyboard } = quill;
    keyboard.addBinding({ key: "z", shortKey: true }, () => this.undo());
    keyboard.addBinding({ key: ["z", "Z"], shortKey: true, shiftKey: true }, () => this.redo());
    if (!/Mac/i.test(navigator.platform)) keyboard.addBinding({ key: "y", shortKey: true }, () => this.redo());
    quill.root.addEventListener("beforeinput", (event) => {
      if (event.inputType !== "historyUndo" && event.inputType !== "historyRedo") return;
      event.preventDefault();
      if (event.inputType === "historyUndo") this.undo();
      else this.redo();
    });
  }

  /** Takes the manager that knows which edits are this person's; until then there is nothing to undo. */
  follow(manager: UndoManager): void {
    this.manager = manager;
  }

  undo(): void {
    this.change((manager) => manager.undo());
  }

  redo(): void {
    this.change((manager) => manager.redo());
  }

  /** Called by Quill: what follows is a new step. */
  cutoff(): void {
    this.manager?.stopCapturing();
  }

  /** Called by Quill: forgets all steps. */
  clear(): void {
    this.manager?.clear();
  }

  private change(act: (manager: UndoManager) => void): void {
    if (!this.manager || !this.quill.isEnabled()) return;
    let end: number | null = null;
    const follow = (delta: Delta): void => {
      end = changeEnd(delta);
    };
    this.quill.on("text-change", follow);
    act(this.manager);
    this.quill.off("text-change", follow);
    if (end !== null) this.quill.setSelection(Math.min(end, this.quill.getLength() - 1), 0, "user");
  }
}
