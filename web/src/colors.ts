/**
 * Colours of people. Every colour shown carries white text (WCAG 2: contrast 4.5) and is itself visible as a caret on
 * the light and on the dark paper (contrast 3), which leaves a narrow band of luminance. The palette lies in that band;
 * colours that other clients announce are moved into it.
 */

const LOWEST = 0.145; // 3:1 against the dark paper, #1d2024
const HIGHEST = 0.18; // 4.5:1 against white text

export const PALETTE: readonly string[] = [
  "#1c6fc2", "#c34120", "#0e7e46", "#9d44c9", "#946404", "#c92b7a",
  "#077984", "#5f5fd7", "#457b1f", "#b23ba8", "#9f5d3c", "#6e6e6e",
];

type Rgb = readonly [number, number, number];

function parse(color: string): Rgb | null {
  const match = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})?$/i.exec(color);
  if (!match) return null;
  return [parseInt(match[1] ?? "", 16), parseInt(match[2] ?? "", 16), parseInt(match[3] ?? "", 16)];
}

function hex(rgb: Rgb): string {
  return `#${rgb.map((part) => Math.round(part).toString(16).padStart(2, "0")).join("")}`;
}

function lightness([red, green, blue]: Rgb): number {
  const linear = (part: number): number => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
}

function mix(from: Rgb, to: Rgb, share: number): Rgb {
  const part = (index: 0 | 1 | 2): number => from[index] + (to[index] - from[index]) * share;
  return [part(0), part(1), part(2)];
}

/** Relative luminance (WCAG 2) of `#rrggbb`, from 0 for black to 1 for white. */
export function luminance(color: string): number {
  return lightness(parse(color) ?? [0, 0, 0]);
}

/** WCAG 2 contrast ratio of two colours, 1 to 21. */
export function contrast(one: string, other: string): number {
  const [low = 0, high = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

/**
 * A colour that is safe to show: `#rrggbb` (an alpha part is dropped), mixed with black or white until it is readable.
 * Anything that is no such colour becomes one of the palette, chosen by `seed`.
 */
export function readable(color: unknown, seed: number): string {
  const rgb = typeof color === "string" ? parse(color) : null;
  if (!rgb) return PALETTE[Math.abs(Math.trunc(seed)) % PALETTE.length] ?? "#6e6e6e";
  const now = lightness(rgb);
  if (now >= LOWEST && now <= HIGHEST) return hex(rgb);
  const target: Rgb = now > HIGHEST ? [0, 0, 0] : [255, 255, 255];
  const fits = now > HIGHEST ? (value: number) => value <= HIGHEST : (value: number) => value >= LOWEST;
  let [low, high] = [0, 1];
  for (let step = 0; step < 12; step++) {
    const middle = (low + high) / 2;
    if (fits(lightness(mix(rgb, target, middle)))) high = middle;
    else low = middle;
  }
  return hex(mix(rgb, target, high));
}

/**
 * The colour to use: the preferred one unless someone who was given way to (see presence.ts) has it, else the first
 * that nobody has, else the preferred one again.
 */
export function freeColor(preferred: string, taken: ReadonlySet<string>): string {
  if (!taken.has(preferred)) return preferred;
  return PALETTE.find((color) => !taken.has(color)) ?? preferred;
}
