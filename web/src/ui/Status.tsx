/** The badge that says whether this person's changes are safe. */
import { useEffect, useState } from "react";
import type { SessionView } from "../session";

interface Text {
  readonly label: string;
  readonly explanation: string;
}

function describe({ saved, kept, stored }: SessionView): Text {
  switch (saved) {
    case "saved":
      return { label: "Saved", explanation: "All your changes are stored durably by the server." };
    case "saving":
      return { label: "Saving…", explanation: "The server has not yet confirmed that your latest changes are stored durably." };
    case "connecting":
      return { label: "Connecting…", explanation: "Comparing this document with the server." };
    case "refused":
      return { label: "Not saved", explanation: "The server does not take your changes; other people do not see them." };
    case "closed":
      return { label: "Disconnected", explanation: "The server has closed this document for you." };
    case "offline":
      return describeOffline(kept, stored);
  }
}

function describeOffline(kept: boolean | null, stored: boolean): Text {
  if (kept === false) {
    return {
      label: "Offline – keep this page open",
      explanation: "This browser stores nothing more for this page; your changes are sent when the server is back.",
    };
  }
  if (!stored || kept === null) return { label: "Offline – keeping changes…", explanation: "Your latest changes are being written to this device." };
  return {
    label: "Offline – changes kept on this device",
    explanation: "Your changes are kept in this browser and sent when the server is back.",
  };
}

/** Announced politely, and not while somebody types: only when the connection comes or goes. */
function useAnnouncement(saved: SessionView["saved"], text: string): string {
  const [announced, announce] = useState("");
  const calm = saved === "saving" || saved === "saved" ? "Online" : saved === "connecting" ? "" : text;
  useEffect(() => announce(calm), [calm]);
  return announced;
}

interface StatusProps {
  readonly view: SessionView;
  /** Shows the explanation to those who cannot hover. */
  explain(text: string): void;
}

export function Status({ view, explain }: StatusProps) {
  const { saved } = view;
  const { label, explanation } = describe(view);
  const announced = useAnnouncement(saved, label);
  return (
    <>
      <button
        type="button"
        className={`status ${saved}`}
        data-state={saved}
        title={explanation}
        onClick={() => explain(explanation)}
      >
        <span className="dot" aria-hidden="true" />
        <span className="words">{label}</span>
      </button>
      <span className="unseen" role="status">
        {announced}
      </span>
    </>
  );
}
