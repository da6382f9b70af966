import { randomBytes } from "node:crypto";
import { keyText } from "../key-text.ts";
import type { ChunkRows } from "../source.ts";
import type { Window, WindowScope } from "../window.ts";
import { DIGEST_KEY_BYTES, type RowDigests } from "./row-digests.ts";
import { encodeKeysBody, encodeRangeBody, type KeyedRow } from "./verify-body.ts";

/** A range as it was read, in digests. */
export type DigestedRange = { readonly digestKey: Uint8Array; readonly digests: RowDigests };

/** What was read in a window: a range that is only to be compared is kept as its digests. */
export type WindowRows = ChunkRows | DigestedRange;

/** V1: under a key of its own. While the window is still open, so that nothing is held up at its end. */
export async function digested(rows: ChunkRows): Promise<DigestedRange> {
  const digestKey = randomBytes(DIGEST_KEY_BYTES);
  return { digestKey, digests: await rows.digest(digestKey) };
}

/** What a verify entry holds of the rows that were read in its window, less those that changed meanwhile (V1). */
export function verifyBody(
  { changed, leftOut }: Window,
  opened: WindowScope & { readonly purpose: "verify" },
  rows: WindowRows,
): { readonly body: Uint8Array; readonly count: number } {
  if ("digestKey" in rows) {
    const digests = rows.digests.without(changed);
    return { body: encodeRangeBody({ leftOut, digestKey: rows.digestKey, digests }), count: digests.rows };
  }
  if (!("keys" in opened)) throw new Error("a range is compared by its digests");
  const read = new Map(rows.single().map(({ key, row }) => [keyText(key), row]));
  const asked: KeyedRow[] = [];
  for (const key of opened.keys) {
    const text = keyText(key);
    if (!changed.has(text)) asked.push({ key, row: read.get(text) ?? null });
  }
  return { body: encodeKeysBody({ leftOut, rows: asked }), count: asked.filter(({ row }) => row !== null).length };
}
