import type { Random } from "./random.ts";
import type { Cell } from "./schema.ts";

/**
 * Values in the very form in which the server prints them, so that what was written and what is read compare as text.
 * JSON: keys by length and then by bytes, a space after comma and colon (the server's own order and spacing).
 */
const FIRST = ["Ada", "Björn", "Chiara", "Đặng", "Émile", "Fatima", "Grace", "Hiro", "Íñigo", "Jürgen", "Кира", "李娜"];
const LAST = ["Novák", "O'Brien", "Müller", "Sørensen", "Kowalski", "İnce", "Smith", "Papadopoulos", "東", "García"];
const NOTES = [
  "leave at the door",
  "ring twice,\tthen wait",
  "C:\\orders\\today",
  "line one\nline two",
  'said "now"',
  "50% off; 'gift'",
  "🎁 wrap it",
  "",
];

export const userName = (random: Random): string => `${random.pick(FIRST)} ${random.pick(LAST)}`;
export const plan = (random: Random): string => random.pick(["free", "team", "business"]);
export const note = (random: Random): Cell =>
  random.integer(6) === 0 ? null : `${random.pick(NOTES)} #${random.integer(1_000_000)}`;

export function money(random: Random): string {
  const cents = random.integer(1_000_000) - 20_000;
  const abs = Math.abs(cents);
  return `${cents < 0 ? "-" : ""}${Math.floor(abs / 100)}.${String(abs % 100).padStart(2, "0")}`;
}

export function settings(random: Random): string {
  const theme = random.pick(["dark", "light", "größer"]);
  return `{"n": ${random.integer(1000)}, "beta": ${random.integer(2) === 1}, "zoom": ${random.integer(30)}.0, "theme": "${theme}"}`;
}

export function invoiceLines(random: Random): string {
  const line = () => `{"qty": ${1 + random.integer(9)}, "sku": "S-${random.integer(9000)}"}`;
  return `[${Array.from({ length: 1 + random.integer(3) }, line).join(", ")}]`;
}

const EPOCH_MS = Date.UTC(2024, 0, 1);
const SPAN_SECONDS = 2 * 365 * 24 * 3600;

/** A DATETIME(6) or TIMESTAMP of the past, in UTC; `micros` says which of the two. */
export function moment(random: Random, precision: "micros" | "seconds"): string {
  const text = timeText(EPOCH_MS + random.integer(SPAN_SECONDS) * 1000);
  return precision === "micros" ? `${text}.${String(random.integer(1_000_000)).padStart(6, "0")}` : text;
}

export const day = (random: Random): string => moment(random, "seconds").slice(0, 10);

export function timeText(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19).replace("T", " ");
}
