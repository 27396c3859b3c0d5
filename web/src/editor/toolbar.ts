/** The toolbar: markup that Quill's toolbar module fills with icons, and the keyboard behaviour of a WAI-ARIA toolbar. */
import { INKS } from "./setup";

const KEY = /Mac/i.test(navigator.platform) ? "⌘" : "Ctrl+";

const button = (format: string, label: string, value?: string): string =>
  `<button type="button" class="ql-${format}" aria-label="${label}" title="${label}"${value ? ` value="${value}"` : ""}></button>`;

const icon = (format: string, label: string, svg: string): string =>
  button(format, label).replace("></button>", `>${svg}</button>`);

const arrow = (path: string): string =>
  `<svg viewBox="0 0 18 18" aria-hidden="true"><path class="ql-stroke" fill="none" d="${path}"/></svg>`;

const UNDO = arrow("M6.5 4 3.5 7l3 3M4 7h6.5a4 4 0 0 1 0 8H7");
const REDO = arrow("m11.5 4 3 3-3 3M14 7H7.5a4 4 0 0 0 0 8H11");

function markup(): string {
  const inks = INKS.map((ink) => `<option value="${ink}"></option>`).join("");
  const groups = [
    `<select class="ql-header" aria-label="Text style"><option value="1">Title</option><option value="2">Heading</option>` +
      `<option value="3">Subheading</option><option selected>Text</option></select>`,
    button("bold", `Bold (${KEY}B)`) +
      button("italic", `Italic (${KEY}I)`) +
      button("underline", `Underline (${KEY}U)`) +
      button("strike", "Strikethrough") +
      `<select class="ql-color" aria-label="Text colour"><option selected></option>${inks}</select>`,
    button("list", "Bulleted list", "bullet") +
      button("list", "Numbered list", "ordered") +
      button("list", "Checklist", "check"),
    button("blockquote", "Quote") + button("code-block", "Code block"),
    button("link", `Link (${KEY}K)`) + button("image", "Picture"),
    button("clean", "Clear formatting"),
    icon("undo", `Undo my last change (${KEY}Z)`, UNDO) + icon("redo", `Redo (${KEY}Shift+Z)`, REDO),
  ];
  return groups.map((group) => `<span class="ql-formats">${group}</span>`).join("");
}

/** A toolbar element, for Quill's toolbar module to take over. */
export function createToolbar(): HTMLElement {
  const bar = document.createElement("div");
  bar.className = "toolbar";
  bar.setAttribute("role", "toolbar");
  bar.setAttribute("aria-label", "Formatting");
  bar.innerHTML = markup();
  return bar;
}

function stops(bar: HTMLElement): HTMLElement[] {
  return Array.from(bar.querySelectorAll<HTMLElement>("button, .ql-picker-label"));
}

function namePickers(bar: HTMLElement): void {
  const names: Record<string, string> = { "ql-header": "Text style", "ql-color": "Text colour" };
  for (const [format, name] of Object.entries(names)) {
    const picker = bar.querySelector(`.ql-picker.${format}`);
    picker?.querySelector(".ql-picker-label")?.setAttribute("aria-label", name);
    picker?.querySelector(".ql-picker-label")?.setAttribute("title", name);
    for (const item of picker?.querySelectorAll<HTMLElement>(".ql-picker-item") ?? []) {
      item.setAttribute("aria-label", item.dataset.label ?? item.dataset.value ?? "Automatic");
    }
  }
}

/** Opens a picker that Quill opens by mouse only, and moves into it. */
function openPicker(label: HTMLElement): void {
  label.dispatchEvent(new MouseEvent("mousedown"));
  label.parentElement?.querySelector<HTMLElement>(".ql-picker-item")?.focus();
}

function move(bar: HTMLElement, from: HTMLElement, key: string): boolean {
  const all = stops(bar);
  const at = all.indexOf(from);
  const targets: Record<string, number> = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 };
  const target = targets[key];
  if (at < 0 || target === undefined) return false;
  const next = all.at(target % all.length);
  for (const stop of all) stop.tabIndex = stop === next ? 0 : -1;
  next?.focus();
  return true;
}

function moveInPicker(item: HTMLElement, key: string): boolean {
  const items = Array.from(item.parentElement?.children ?? []) as HTMLElement[];
  const step = key === "ArrowDown" || key === "ArrowRight" ? 1 : key === "ArrowUp" || key === "ArrowLeft" ? -1 : 0;
  if (step === 0) return false;
  items.at((items.indexOf(item) + step) % items.length)?.focus();
  return true;
}

/** One tab stop for the whole bar, arrows inside it, Escape back to the text; `leave` focuses the text. */
export function makeAccessible(bar: HTMLElement, leave: () => void): void {
  namePickers(bar);
  stops(bar).forEach((stop, index) => (stop.tabIndex = index === 0 ? 0 : -1));
  bar.addEventListener("keydown", (event) => {
    const target = event.target as HTMLElement;
    const label = target.closest<HTMLElement>(".ql-picker-label");
    const item = target.closest<HTMLElement>(".ql-picker-item");
    const open = target.closest(".ql-expanded") !== null;
    let done = false;
    if (event.key === "Escape" && !open) {
      leave();
      done = true;
    } else if (item) {
      done = moveInPicker(item, event.key);
      if (event.key === " ") item.click();
      done ||= event.key === " ";
    } else if (label && [" ", "Enter", "ArrowDown"].includes(event.key)) {
      openPicker(label);
      done = true;
    } else {
      done = move(bar, target, event.key);
    }
    if (!done) return;
    event.preventDefault();
    event.stopPropagation();
  }, true);
}
