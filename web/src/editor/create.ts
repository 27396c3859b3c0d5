/** Puts a Quill editor into an element and ties it to a shared text. */
import type { default as Quill, QuillOptions, Range } from "quill/core";
import Delta from "quill-delta";
import { QuillBinding } from "y-quill";
import type { Awareness } from "y-protocols/awareness";
import { UndoManager, type Text } from "yjs";
import { emojiAfter, emojiBefore } from "./clusters";
import type { NamedCursors } from "./cursors";
import type { SharedHistory } from "./history";
import { keepLastLine } from "./lastline";
import { outgoing } from "./outgoing";
import { keepEqual, pageOf } from "./reconcile";
import { IMAGE_TYPES, imageProblem, PASTE_LIMIT, safeImage } from "./safe";
import { INKS, setUpQuill } from "./setup";
import { tame, type AnyOp } from "./tame";
import { createToolbar, makeAccessible } from "./toolbar";

export interface EditorEvents {
  /** The first line with text changed; empty if there is none. */
  onTitle(line: string): void;
  /** Something cannot be done; `message` is for people. */
  onProblem(message: string): void;
  /** The toolbar asks for a picture, or for a link where nothing is selected. */
  onAsk(what: "image" | "link"): void;
}

export interface Editor {
  setEditable(editable: boolean): void;
  insertImage(address: string): void;
  insertImageFile(file: File): void;
  insertLink(address: string, text: string): void;
  focus(): void;
  destroy(): void;
}

interface KeyContext {
  readonly prefix: string;
  readonly suffix: string;
}

function readFile(file: File): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error ?? new Error("unreadable"));
    reader.readAsDataURL(file);
  });
}

async function insertFiles(quill: Quill, range: Range, files: readonly File[], events: EditorEvents): Promise<void> {
  for (const problem of files.map(imageProblem)) if (problem) events.onProblem(problem);
  const good = files.filter((file) => imageProblem(file) === null);
  try {
    const addresses = await Promise.all(good.map(readFile));
    const change = new Delta().retain(range.index).delete(range.length);
    for (const image of addresses) change.insert({ image });
    if (addresses.length > 0) quill.updateContents(change, "user");
    quill.setSelection(range.index + addresses.length, 0, "user");
  } catch {
    events.onProblem("This picture could not be read.");
  }
}

/** Drops foreign colours (black text from a word processor is invisible on dark paper) and pictures that cannot load. */
function cleanPasted(delta: Delta, events: EditorEvents): Delta {
  const clean = new Delta();
  for (const { insert, attributes } of delta.ops) {
    const { color, background: _background, ...rest } = attributes ?? {};
    const kept = INKS.includes(color as string) ? { ...rest, color } : rest;
    const image = typeof insert === "object" ? insert.image : undefined;
    if (typeof image === "string" && !safeImage(image)) events.onProblem("A pasted picture was left out: it is too large, or its address is not https.");
    else if (insert !== undefined) clean.insert(insert, kept);
  }
  return clean;
}

function keyBindings(): Record<string, unknown> {
  const erase = (find: (context: KeyContext) => number, before: boolean) =>
    function (this: { quill: Quill }, range: Range, context: KeyContext): boolean {
      const length = find(context);
      if (length === 0) return true;
      this.quill.deleteText(before ? range.index - length : range.index, length, "user");
      return false;
    };
  return {
    // Tab leaves the editor, so that nobody who works by keyboard is caught in it; in lists and code it still indents.
    tab: false,
    "erase emoji before": { key: "Backspace", collapsed: true, handler: erase((context) => emojiBefore(context.prefix), true) },
    "erase emoji after": { key: "Delete", collapsed: true, handler: erase((context) => emojiAfter(context.suffix), false) },
  };
}

function options(bar: HTMLElement, host: HTMLElement, events: EditorEvents): QuillOptions {
  return {
    theme: "snow",
    placeholder: "Write something…",
    bounds: host,
    modules: {
      // y-quill places the carets after every change; moving them here as well would put them beside their places.
      cursors: { transformOnTextChange: false, boundsContainer: host },
      clipboard: { matchers: [[Node.ELEMENT_NODE, (_node: Node, delta: Delta) => cleanPasted(delta, events)]] },
      keyboard: { bindings: keyBindings() },
      uploader: {
        // Quill drops other files without a word; these are passed on so that people learn why they cannot be added.
        mimetypes: [...IMAGE_TYPES, "image/heic", "image/heif", "image/svg+xml", "image/bmp", "image/tiff"],
        handler(this: { quill: Quill }, range: Range, files: File[]) {
          void insertFiles(this.quill, range, files, events);
        },
      },
      toolbar: {
        container: bar,
        handlers: {
          image: () => events.onAsk("image"),
          undo(this: { quill: Quill }) {
            this.quill.history.undo();
          },
          redo(this: { quill: Quill }) {
            this.quill.history.redo();
          },
          link(this: { quill: Quill }, on: boolean) {
            askForLink(this.quill, on, events);
          },
        },
      },
    },
  };
}

function askForLink(quill: Quill, on: boolean, events: EditorEvents): void {
  const range = quill.getSelection(true);
  if (!on) quill.format("link", false, "user");
  else if (range.length === 0) events.onAsk("link");
  else (quill.theme as unknown as { tooltip: { edit(mode: string, preview: string): void } }).tooltip.edit("link", "");
}

/**
 * Passes every change from the shared text through `tame`, and starts over from the text should Quill fail nevertheless:
 * a page that lags behind its document would write at the wrong places.
 */
function guard(quill: Quill, text: Text): void {
  const update = quill.updateContents.bind(quill);
  const set = quill.setContents.bind(quill);
  quill.setContents = (delta, source) => set(pageOf(opsOf(delta)), source);
  quill.updateContents = (delta, source) => {
    if (typeof source === "string") return update(delta, source);
    try {
      return update(tame(opsOf(delta)) as never, source);
    } catch (error) {
      console.error("The editor could not show a change and reloads the text", error);
      return quill.setContents(text.toDelta() as never, source);
    }
  };
}

/** Binds text and editor; what people do here passes through `outgoing` on its way into the text. */
function bind(quill: Quill, text: Text, awareness: Awareness): QuillBinding {
  const binding = new QuillBinding(text, quill, awareness);
  const stock = binding._quillObserver;
  quill.off("editor-change", stock);
  binding._quillObserver = (name: string, change: unknown, before: unknown, source: unknown) =>
    stock(name, name === "text-change" && source !== binding ? outgoing(change as Delta) : change, before, source);
  quill.on("editor-change", binding._quillObserver);
  return binding;
}

function opsOf(delta: unknown): AnyOp[] {
  return (Array.isArray(delta) ? delta : (delta as { ops: unknown }).ops) as AnyOp[];
}

function watchTitle(quill: Quill, onTitle: (line: string) => void): void {
  const report = (): void => {
    const line = quill.getLines(0, 2000).find((candidate) => candidate.domNode.textContent?.trim());
    onTitle(line?.domNode.textContent?.trim() ?? "");
  };
  quill.on("text-change", report);
  report();
}

function refuseHugePastes(host: HTMLElement, events: EditorEvents): void {
  host.addEventListener(
    "paste",
    (event) => {
      const data = event.clipboardData;
      const size = Math.max(data?.getData("text/html").length ?? 0, data?.getData("text/plain").length ?? 0);
      if (size <= PASTE_LIMIT) return;
      event.preventDefault();
      event.stopPropagation();
      events.onProblem("This is too much to paste at once. Please paste it in parts.");
    },
    true,
  );
}

/** Shows the names at carets for a moment whenever they move; returns what ends it. */
function announceCarets(cursors: NamedCursors, awareness: Awareness): () => void {
  const announce = ({ added, updated }: Record<string, number[]>): void => {
    for (const id of [...(added ?? []), ...(updated ?? [])]) cursors.announce(String(id));
  };
  awareness.on("change", announce);
  return () => awareness.off("change", announce);
}

/** The editor and its toolbar as elements, not yet bound to anything. */
function mount(host: HTMLElement, events: EditorEvents): { quill: Quill; bar: HTMLElement } {
  const bar = createToolbar();
  const page = document.createElement("div");
  page.className = "page";
  host.append(bar, page);
  const quill = new (setUpQuill())(page, options(bar, host, events));
  quill.root.setAttribute("role", "textbox");
  quill.root.setAttribute("aria-multiline", "true");
  quill.root.setAttribute("aria-label", "Document");
  quill.root.setAttribute("spellcheck", "true");
  makeAccessible(bar, () => quill.focus());
  quill.keyboard.addBinding({ key: "F10", altKey: true }, () => bar.querySelector<HTMLElement>("[tabindex='0']")?.focus());
  refuseHugePastes(page, events);
  return { quill, bar };
}

function replaceSelection(quill: Quill, insert: Delta): void {
  const range = quill.getSelection(true);
  quill.updateContents(new Delta().retain(range.index).delete(range.length).concat(insert), "user");
  quill.setSelection(range.index + insert.length(), 0, "user");
}

/** Creates the editor inside `host`, which must be empty, bound to the text as it is now. */
export function createEditor(host: HTMLElement, text: Text, awareness: Awareness, events: EditorEvents): Editor {
  const { quill, bar } = mount(host, events);
  guard(quill, text);
  const binding = bind(quill, text, awareness);
  const undoManager = new UndoManager(text, { trackedOrigins: new Set([binding]), captureTimeout: 500 });
  (quill.history as unknown as SharedHistory).follow(undoManager);
  const cursors = quill.getModule("cursors") as NamedCursors;
  const releases = [
    announceCarets(cursors, awareness),
    keepLastLine(text, quill, binding),
    keepEqual(text, quill, binding),
    () => undoManager.destroy(),
    () => binding.destroy(),
    () => cursors.destroy(),
  ];
  watchTitle(quill, (line) => events.onTitle(line));
  return {
    setEditable: (editable) => {
      quill.enable(editable);
      bar.classList.toggle("off", !editable);
    },
    insertImage: (address) => replaceSelection(quill, new Delta().insert({ image: address })),
    insertImageFile: (file) => void insertFiles(quill, quill.getSelection(true), [file], events),
    insertLink: (address, label) => replaceSelection(quill, new Delta().insert(label, { link: address })),
    focus: () => quill.focus(),
    destroy: () => {
      for (const release of releases) release();
      host.replaceChildren();
    },
  };
}
