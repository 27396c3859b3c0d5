// What each file of scenarios needs: one server, one browser, and people who are gone when their scenario ends.
import { after, afterEach, before } from "node:test";
import { DESKTOP, launch } from "./browser.mjs";
import { Editor } from "./editor.mjs";
import { Server } from "./server.mjs";

/** A stage for the tests of one file. `env` holds settings of the server. */
export function stage(env = {}) {
  const server = new Server();
  const contexts = [];
  const editors = [];
  let browser;
  before(async () => {
    await server.start(env);
    browser = await launch();
  });
  afterEach(async () => {
    for (const context of contexts.splice(0)) await context.close();
    for (const editor of editors.splice(0)) editor.assertHealthy();
  });
  after(async () => {
    await browser?.close();
    await server.dispose();
  });
  const person = async (options = DESKTOP) => {
    const context = await browser.newContext(options);
    contexts.push(context);
    return context;
  };
  const open = async (context, path, name) => {
    const editor = await Editor.open(context, server.url + path, name);
    editors.push(editor);
    return editor;
  };
  return {
    server,
    /** A new browser context: a person with storage of their own. */
    person,
    /** A page of a context at a document. */
    open,
    /** A new person at a document. */
    join: async (path, name, options) => open(await person(options), path, name),
  };
}
