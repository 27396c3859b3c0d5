/** The dialogs that add a picture or a link. */
import { useEffect, useId, useRef, useState, type FormEvent, type ReactNode, type RefObject } from "react";
import { flushSync } from "react-dom";
import type { Editor } from "../editor/create";
import { IMAGE_TYPES, imageProblem, safeImage, safeLink } from "../editor/safe";

interface FrameProps {
  readonly title: string;
  readonly action: string;
  readonly problem: string | null;
  readonly children: ReactNode;
  submit(): void;
  close(): void;
}

/** A modal dialog; the browser keeps the focus inside and closes it with Escape. */
function Frame({ title, action, problem, children, submit, close }: FrameProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => dialog.current?.showModal(), []);
  const onSubmit = (event: FormEvent): void => {
    event.preventDefault();
    submit();
  };
  return (
    <dialog ref={dialog} aria-labelledby={heading} onClose={close}>
      <form onSubmit={onSubmit} noValidate>
        <h2 id={heading}>{title}</h2>
        {children}
        {problem && (
          <p className="problem" role="alert">
            {problem}
          </p>
        )}
        <div className="actions">
          <button type="button" onClick={close}>
            Cancel
          </button>
          <button type="submit" className="primary">
            {action}
          </button>
        </div>
      </form>
    </dialog>
  );
}

export type Question = "image" | "link";

interface DialogsProps {
  readonly asking: Question | null;
  readonly editor: RefObject<Editor | null>;
  close(): void;
}

/** The dialog that is open, if one is; its answer goes to the editor. */
export function Dialogs({ asking, editor, close }: DialogsProps) {
  // The dialog goes first: while it is open, the editor cannot have the focus.
  const answer = (act: (target: Editor) => void): void => {
    flushSync(close);
    if (editor.current) act(editor.current);
  };
  if (asking === "image") {
    return (
      <ImageDialog
        onAddress={(address) => answer((target) => target.insertImage(address))}
        onFile={(file) => answer((target) => target.insertImageFile(file))}
        close={close}
      />
    );
  }
  if (asking === "link") {
    return <LinkDialog onLink={(address, text) => answer((target) => target.insertLink(address, text))} close={close} />;
  }
  return null;
}

interface ImageDialogProps {
  onAddress(address: string): void;
  onFile(file: File): void;
  close(): void;
}

function ImageDialog({ onAddress, onFile, close }: ImageDialogProps) {
  const [address, setAddress] = useState("");
  const [file, setFile] = useState<File | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const choose = (chosen: File | null): void => {
    setFile(chosen);
    setProblem(chosen && imageProblem(chosen));
  };
  const submit = (): void => {
    const refusal = file ? imageProblem(file) : safeImage(address.trim()) ? null : "Choose a file, or give a web address that begins with https://";
    setProblem(refusal);
    if (refusal) return;
    if (file) onFile(file);
    else onAddress(address.trim());
  };
  return (
    <Frame title="Add a picture" action="Add picture" problem={problem} submit={submit} close={close}>
      <label>
        From this device <span className="hint">up to 1 MB</span>
        <input type="file" accept={IMAGE_TYPES.join(",")} onChange={(event) => choose(event.target.files?.[0] ?? null)} />
      </label>
      <label>
        Or from the web
        <input
          type="url"
          inputMode="url"
          placeholder="https://…"
          value={address}
          disabled={file !== null}
          onChange={(event) => setAddress(event.target.value)}
        />
      </label>
    </Frame>
  );
}

interface LinkDialogProps {
  onLink(address: string, text: string): void;
  close(): void;
}

function LinkDialog({ onLink, close }: LinkDialogProps) {
  const [address, setAddress] = useState("");
  const [text, setText] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const submit = (): void => {
    const link = safeLink(address);
    setProblem(link ? null : "This is no web or mail address.");
    if (link) onLink(link, text.trim() || address.trim());
  };
  return (
    <Frame title="Add a link" action="Add link" problem={problem} submit={submit} close={close}>
      <label>
        Address
        <input type="url" inputMode="url" placeholder="https://…" value={address} onChange={(event) => setAddress(event.target.value)} />
      </label>
      <label>
        Text to show <span className="hint">optional</span>
        <input value={text} onChange={(event) => setText(event.target.value)} />
      </label>
    </Frame>
  );
}
