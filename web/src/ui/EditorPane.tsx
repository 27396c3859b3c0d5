/** React's side of the editor: mounts it once and keeps it in step with what the session allows. */
import { useEffect, useImperativeHandle, useRef, type Ref } from "react";
import { createEditor, type Editor, type EditorEvents } from "../editor/create";
import type { Session } from "../session";

interface EditorPaneProps extends EditorEvents {
  readonly session: Session;
  readonly editable: boolean;
  readonly ref: Ref<Editor>;
}

export function EditorPane({ session, editable, onTitle, onProblem, onAsk, ref }: EditorPaneProps) {
  const host = useRef<HTMLDivElement>(null);
  const editor = useRef<Editor | null>(null);
  const events = useRef<EditorEvents>({ onTitle, onProblem, onAsk });
  useEffect(() => {
    events.current = { onTitle, onProblem, onAsk };
  });
  useEffect(() => {
    if (!host.current) return;
    const created = createEditor(host.current, session.text, session.transport.awareness, {
      onTitle: (line) => events.current.onTitle(line),
      onProblem: (message) => events.current.onProblem(message),
      onAsk: (what) => events.current.onAsk(what),
    });
    editor.current = created;
    // On a touch screen the focus brings up the keyboard, which covers half of what people came to read.
    if (matchMedia("(pointer: fine)").matches) created.focus();
    return () => {
      editor.current = null;
      created.destroy();
    };
  }, [session]);
  useEffect(() => editor.current?.setEditable(editable), [editable]);
  useImperativeHandle(ref, () => {
    const call = <Key extends keyof Editor>(key: Key): Editor[Key] =>
      ((...args: never[]) => (editor.current?.[key] as (...rest: never[]) => void)?.(...args)) as Editor[Key];
    return {
      setEditable: call("setEditable"),
      insertImage: call("insertImage"),
      insertImageFile: call("insertImageFile"),
      insertLink: call("insertLink"),
      focus: call("focus"),
      destroy: () => undefined,
    };
  }, []);
  return <div className="editor" ref={host} />;
}
