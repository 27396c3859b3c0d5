/** The badge that says whether this person's changes are safe. */
import { useEffect, useState } from "react";
import type { SavedLabel } from "../saved";

interface Text {
  readonly label: string;
  readonly explanation: string;
}

function describe(saved: SavedLabel, kept: boolean | null): Text {
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
      return kept === false
        ? { label: "Offline – keep this page open", explanation: "This browser stores nothing for this page; your changes are sent when the server is back." }
        : { label: "Offline – changes kept on this device", explanation: "Your changes are kept in this browser and sent when the server is back." };
  }
}

/** Announced politely, and not while somebody types: only when the connection comes or goes. */
function useAnnouncement(saved: SavedLabel, text: string): string {
  const [announced, announce] = useState("");
  const calm = saved === "saving" || saved === "saved" ? "online" : saved;
  useEffect(() => {
    announce(calm === "online" ? "Online" : calm === "connecting" ? "" : text);
  }, [calm, text]);
  return announced;
}

export function Status({ saved, kept }: { saved: SavedLabel; kept: boolean | null }) {
  const { label, explanation } = describe(saved, kept);
  const announced = useAnnouncement(saved, saved === "saving" || saved === "saved" ? "" : label);
  return (
    <span className={`status ${saved}`} data-state={saved} title={explanation} tabIndex={0} aria-label={`${label} ${explanation}`}>
      <span className="dot" aria-hidden="true" />
      <span className="words">{label}</span>
      <span className="unseen" role="status">
        {announced}
      </span>
    </span>
  );
}
