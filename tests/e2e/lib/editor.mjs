// What a test does with one page of the web client, and what it can see there.
import assert from "node:assert/strict";

const LINES = "p,h1,h2,h3,li,blockquote,.ql-code-block";
const DEADLINE = 20_000; // ms; generous, since it only decides how long a broken build takes to fail

/** Polls `read` until `accept` takes its value; returns the value. Fails with the last value seen. */
export async function until(what, read, accept) {
  const end = Date.now() + DEADLINE;
  let seen;
  for (;;) {
    seen = await read();
    if (accept(seen)) return seen;
    if (Date.now() > end) assert.fail(`${what}; last seen: ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
}

export class Editor {
  constructor(page) {
    this.page = page;
    this.problems = [];
    page.on("pageerror", (error) => this.problems.push(`page error: ${error.stack ?? error}`));
    page.on("console", (message) => {
      // A socket that cannot connect is what several tests are about; the browser reports each attempt.
      const expected = /WebSocket connection|WebSocket is already|ERR_CONNECTION|ERR_INTERNET_DISCONNECTED|Failed to load resource/;
      if (message.type() === "error" && !expected.test(message.text())) this.problems.push(message.text());
    });
  }

  /** A person in a browser context, at a document. `name` is what others see. */
  static async open(context, url, name) {
    const page = await context.newPage();
    const editor = new Editor(page);
    if (name) {
      await page.addInitScript((value) => {
        if (!localStorage.getItem("syncd.name")) localStorage.setItem("syncd.name", value);
      }, name);
    }
    await page.goto(url);
    await editor.ready();
    return editor;
  }

  async ready() {
    await this.page.waitForSelector(".ql-editor");
  }

  async reload() {
    await this.page.reload();
    await this.ready();
  }

  /** Every block of the document as Quill shows it, formats and all, without the mark of a format chosen but not used. */
  html() {
    return this.page.$eval(".ql-editor", (root) => {
      const copy = root.cloneNode(true);
      for (const mark of copy.querySelectorAll(".ql-cursor")) {
        let gone = mark;
        while (gone.parentElement.textContent.replaceAll("\ufeff", "") === "" && gone.parentElement.matches("strong,em,s,u,span,a")) {
          gone = gone.parentElement;
        }
        const block = gone.parentElement;
        gone.remove();
        if (block.textContent === "" && !block.querySelector("img,br")) block.append(document.createElement("br"));
      }
      return copy.innerHTML.replaceAll("\ufeff", "");
    });
  }

  /** The text, one line per block. */
  text() {
    return this.page.$eval(
      ".ql-editor",
      (root, lines) => Array.from(root.querySelectorAll(lines), (line) => line.textContent).join("\n"),
      LINES,
    );
  }

  state() {
    return this.page.getAttribute(".status", "data-state");
  }

  async reaches(state) {
    await until(`the status becomes ${state}`, () => this.state(), (seen) => seen === state);
  }

  async shows(text) {
    await until(`the text contains ${JSON.stringify(text)}`, () => this.text(), (seen) => seen.includes(text));
  }

  async focus() {
    await this.page.focus(".ql-editor");
  }

  /** Types key by key, as a person does. */
  async type(text, delay = 0) {
    await this.focus();
    await this.page.keyboard.type(text, { delay });
  }

  /** Inserts as an input method does; `keyboard.type` cannot produce emoji. */
  async insert(text) {
    await this.focus();
    await this.page.keyboard.insertText(text);
  }

  async press(...keys) {
    await this.focus();
    for (const key of keys) await this.page.keyboard.press(key);
  }

  /** Selects UTF-16 units of the line with this index (0 is the first); `whole` moves ends out of the middle of characters. */
  async select(line, from, to, whole = false) {
    await this.focus();
    await this.page.evaluate(
      ([lines, index, start, end, snap]) => {
        const block = document.querySelector(".ql-editor").querySelectorAll(lines)[index];
        const point = (offset) => {
          const walker = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
          let left = offset;
          for (let node = walker.nextNode(); node; node = walker.nextNode()) {
            const inside = snap && /[\udc00-\udfff]/.test(node.data[left] ?? "") && /[\ud800-\udbff]/.test(node.data[left - 1] ?? "");
            if (left <= node.length) return [node, inside ? left - 1 : left];
            left -= node.length;
          }
          return [block, block.childNodes.length];
        };
        getSelection().setBaseAndExtent(...point(start), ...point(end));
      },
      [LINES, line, from, to, whole],
    );
  }

  async click(label) {
    await this.page.click(`.toolbar [aria-label^="${label}"]`);
  }

  async style(name) {
    await this.page.click(".toolbar .ql-header .ql-picker-label");
    await this.page.click(`.toolbar .ql-header .ql-picker-item[data-label="${name}"]`);
  }

  /** Names at the carets of others. */
  carets() {
    return this.page.$$eval(".ql-cursor:not(.hidden)", (all) =>
      all
        .filter((one) => one.querySelector(".ql-cursor-caret")?.getBoundingClientRect().height > 0)
        .map((one) => one.querySelector(".ql-cursor-name").textContent)
        .sort(),
    );
  }

  async seesCarets(...names) {
    const wanted = JSON.stringify([...names].sort());
    await until(`carets of ${wanted}`, () => this.carets(), (seen) => JSON.stringify(seen) === wanted);
  }

  /** Like `seesCarets`, but others may be there too. */
  async seesCaretsOf(name) {
    await until(`the caret of ${name}`, () => this.carets(), (seen) => seen.includes(name));
  }

  /** How far, in pixels, the caret of `name` on this page is from the place where `other` has the caret. */
  async caretDistance(name, other) {
    const place = await other.page.evaluate((lines) => {
      const { anchorNode, anchorOffset } = getSelection();
      const element = anchorNode.nodeType === Node.TEXT_NODE ? anchorNode.parentElement : anchorNode;
      const line = element.closest(lines);
      const before = document.createRange();
      before.setStart(line, 0);
      before.setEnd(anchorNode, anchorOffset);
      const all = Array.from(document.querySelector(".ql-editor").querySelectorAll(lines));
      return { line: all.indexOf(line), offset: before.toString().length };
    }, LINES);
    return this.page.evaluate(
      ([lines, person, { line, offset }]) => {
        const cursor = Array.from(document.querySelectorAll(".ql-cursor")).find(
          (one) => one.querySelector(".ql-cursor-name").textContent === person,
        );
        const walker = document.createTreeWalker(document.querySelector(".ql-editor").querySelectorAll(lines)[line], NodeFilter.SHOW_TEXT);
        let [left, node] = [offset, walker.nextNode()];
        while (node && left > node.length) [left, node] = [left - node.length, walker.nextNode()];
        const range = document.createRange();
        range.setStart(node, left);
        const here = range.getBoundingClientRect();
        const caret = cursor.querySelector(".ql-cursor-caret").getBoundingClientRect();
        return Math.hypot(caret.left + caret.width / 2 - here.left, caret.top - here.top);
      },
      [LINES, name, place],
    );
  }

  /** Names in the list of people present, this person first. */
  people() {
    return this.page.$$eval(".panel .name", (all) => all.map((one) => one.textContent));
  }

  async seesPeople(...names) {
    const wanted = JSON.stringify([...names].sort());
    await until(`people ${wanted}`, async () => JSON.stringify((await this.people()).sort()), (seen) => seen === wanted);
  }

  /** Fails if the page reported an error, among them violations of its content security policy. */
  assertHealthy() {
    assert.deepEqual(this.problems, []);
  }
}

/** Waits until all pages show the same document, and returns its text. */
export async function converge(...editors) {
  const read = () => Promise.all(editors.map((editor) => editor.html()));
  await until("all pages show the same document", read, (seen) => seen.every((html) => html === seen[0]));
  return editors[0].text();
}
