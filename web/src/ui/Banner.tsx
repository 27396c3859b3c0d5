/** A message of the server across the page. */
import type { Notice } from "../session";

interface Words {
  readonly title: string;
  readonly advice: string;
}

const PERMANENT: Readonly<Record<number, Words>> = {
  4400: { title: "This address cannot be a document", advice: "Its name is too long or has characters that are not allowed." },
  4401: { title: "Please sign in", advice: "This document needs a valid sign-in. Open it again from where you got the link." },
  4403: { title: "You have no access to this document", advice: "Ask its owner to share it with you." },
  4404: { title: "This document has been deleted", advice: "What you see is the copy on this device. You can still copy the text." },
  4413: { title: "This document is full", advice: "It takes no more changes. You can still read and copy the text." },
};

const OTHER: Words = { title: "The server has closed this document", advice: "You can still read and copy the text." };
const REFUSED: Words = { title: "The server does not take your changes", advice: "They are kept on this device only." };

interface BannerProps {
  readonly notice: Notice;
  dismiss(): void;
  /** Removes the copy on this device. */
  forget(): void;
}

export function Banner({ notice, dismiss, forget }: BannerProps) {
  const { title, advice } = notice.code === null ? REFUSED : (PERMANENT[notice.code] ?? OTHER);
  const detail = notice.reason.slice(0, 300);
  return (
    <div className={notice.code === null ? "banner mild" : "banner"} role="alert" data-code={notice.code ?? undefined}>
      <div>
        <strong>{title}.</strong> {advice}
        {detail && <span className="reason"> The server says: “{detail}”</span>}
      </div>
      {notice.code === null && (
        <button type="button" onClick={dismiss}>
          Close
        </button>
      )}
      {notice.code === 4404 && (
        <button type="button" onClick={forget}>
          Remove from this device
        </button>
      )}
    </div>
  );
}
