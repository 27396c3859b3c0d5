/** Quill with what this editor uses, and nothing else: fewer formats means a smaller page and fewer surprises. */
import Quill, { Parchment } from "quill/core";
import { AlignClass } from "quill/formats/align";
import { BackgroundStyle } from "quill/formats/background";
import Blockquote from "quill/formats/blockquote";
import Bold from "quill/formats/bold";
import CodeBlock, { Code } from "quill/formats/code";
import { ColorAttributor } from "quill/formats/color";
import { DirectionClass } from "quill/formats/direction";
import { FontClass } from "quill/formats/font";
import Header from "quill/formats/header";
import Image from "quill/formats/image";
import Indent from "quill/formats/indent";
import Italic from "quill/formats/italic";
import Link from "quill/formats/link";
import List from "quill/formats/list";
import Script from "quill/formats/script";
import { SizeClass } from "quill/formats/size";
import Strike from "quill/formats/strike";
import Underline from "quill/formats/underline";
import Toolbar from "quill/modules/toolbar";
import SnowTheme from "quill/themes/snow";
import { NamedCursors } from "./cursors";
import { SharedHistory } from "./history";
import { UNSUPPORTED } from "./tame";

/** The inks of the toolbar. Their shades come from the style sheet, so that text stays readable on light and dark paper. */
export const INKS: readonly string[] = ["red", "orange", "green", "blue", "purple", "grey"];

class InkAttributor extends ColorAttributor {
  override add(node: HTMLElement, value: unknown): boolean {
    return super.add(node, INKS.includes(value as string) ? `var(--ink-${String(value)})` : value);
  }

  override value(node: HTMLElement): string {
    const value = super.value(node) as string;
    return /^var\(--ink-([a-z]+)\)$/.exec(value)?.[1] ?? value;
  }
}

class Unsupported extends Parchment.EmbedBlot {
  static override blotName = UNSUPPORTED;
  static override tagName = "SPAN";
  static override className = "unsupported";

  static override create(value: unknown): Node {
    const node = super.create(value) as HTMLElement;
    node.contentEditable = "false";
    node.dataset.name = String(value);
    node.textContent = `[${String(value)}]`;
    return node;
  }

  static override value(node: HTMLElement): string {
    return node.dataset.name ?? "";
  }
}

/** Lets pictures load late and without telling their host where they are shown. */
class QuietImage extends Image {
  static override create(value: string): Element {
    const node = super.create(value);
    node.setAttribute("loading", "lazy");
    node.setAttribute("referrerpolicy", "no-referrer");
    return node;
  }
}

let registered = false;

/** Registers everything once and returns Quill. */
export function setUpQuill(): typeof Quill {
  if (registered) return Quill;
  registered = true;
  Quill.register(
    {
      "formats/align": AlignClass,
      "formats/background": BackgroundStyle,
      "formats/blockquote": Blockquote,
      "formats/bold": Bold,
      "formats/code": Code,
      "formats/code-block": CodeBlock,
      "formats/color": new InkAttributor("color", "color", { scope: Parchment.Scope.INLINE }),
      "formats/direction": DirectionClass,
      "formats/font": FontClass,
      "formats/header": Header,
      "formats/image": QuietImage,
      "formats/indent": Indent,
      "formats/italic": Italic,
      "formats/link": Link,
      "formats/list": List,
      "formats/script": Script,
      "formats/size": SizeClass,
      "formats/strike": Strike,
      "formats/underline": Underline,
      [`formats/${UNSUPPORTED}`]: Unsupported,
      "modules/cursors": NamedCursors,
      "modules/history": SharedHistory,
      "modules/toolbar": Toolbar,
      "themes/snow": SnowTheme,
    },
    true,
  );
  return Quill;
}
