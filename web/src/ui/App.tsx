/** The page of one document. */
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";
import type { Editor } from "../editor/create";
import type { Identity } from "../identity";
import type { Session } from "../session";
import { Banner } from "./Banner";
import { CopyLink } from "./CopyLink";
import { Dialogs, type Question } from "./Dialogs";
import { EditorPane } from "./EditorPane";
import { People } from "./People";
import { Status } from "./Status";

const MESSAGE_TIME = 8000; // ms that a message stays

interface AppProps {
  readonly session: Session;
  readonly identity: Identity;
  /** The room's name, shown while the document has no first line. */
  readonly room: string;
  /** The address that others can open. */
  readonly link: string;
}

function useMessage(): [string | null, (message: string | null) => void] {
  const [message, setMessage] = useState<string | null>(null);
  useEffect(() => {
    if (message === null) return;
    const timer = setTimeout(() => setMessage(null), MESSAGE_TIME);
    return () => clearTimeout(timer);
  }, [message]);
  return [message, setMessage];
}

export function App({ session, identity, room, link }: AppProps) {
  const view = useSyncExternalStore(session.subscribe, session.view);
  const people = useSyncExternalStore(identity.subscribe, identity.people);
  const [title, setTitle] = useState("");
  const [asking, setAsking] = useState<Question | null>(null);
  const [message, setMessage] = useMessage();
  const editor = useRef<Editor>(null);
  const forget = useCallback(() => void session.forget().then(() => location.reload()), [session]);
  const closeDialog = useCallback(() => setAsking(null), []);
  const shown = (title || (view.ready ? "Untitled document" : room)).slice(0, 120);
  useEffect(() => {
    document.title = `${shown} – syncd`;
  }, [shown]);
  return (
    <>
      <header>
        <img className="brand" src="/assets/icon.svg" alt="syncd" width="28" height="28" />
        <h1 title={room}>{shown}</h1>
        <Status view={view} explain={setMessage} />
        <span className="space" />
        <People people={people} rename={identity.rename} />
        <CopyLink link={link} />
        <a className="button" href="/" title="New document">
          <svg viewBox="0 0 16 16" width="14" height="14" aria-hidden="true" stroke="currentColor" strokeWidth="1.7" strokeLinecap="round">
            <path d="M8 2.5v11M2.5 8h11" />
          </svg>
          <span className="wide">New document</span>
        </a>
      </header>
      {view.notice && <Banner notice={view.notice} dismiss={session.dismiss} forget={forget} />}
      <main>
        {view.ready ? (
          <EditorPane
            ref={editor}
            session={session}
            editable={view.saved !== "closed" && view.saved !== "refused"}
            onTitle={setTitle}
            onProblem={setMessage}
            onAsk={setAsking}
          />
        ) : (
          <p className="loading" role="status">
            {view.saved === "closed" ? "There is no copy of this document on this device." : "Loading the document…"}
          </p>
        )}
      </main>
      <Dialogs asking={asking} editor={editor} close={closeDialog} />
      <div className="toast" role="alert" hidden={message === null}>
        {message}
      </div>
    </>
  );
}
