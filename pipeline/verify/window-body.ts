import { randomBytes } from "node:crypto";
import { keyText } from "../key-text.ts";
import type { ChunkRows } from "../source.ts";
import type { Window, WindowScope } from "../window.ts";
import { DIGEST_KEY_BYTES } from "./row-digests.ts";
import { encodeKeysBody, encodeRangeBody, type KeyedRow } from "./verify-body.ts";

/** What a verify entry holds of the rows that were read in its window, less those that changed meanwhile (V1). */
export function verifyBody(
  window: Window,
  opened: WindowScope & { readonly purpose: "verify" },
  rows: ChunkRows,
): { readonly body: Uint8Array; readonly count: number } {
  const { changed, leftOut } = window;
  if (!("keys" in opened)) {
    const digestKey = randomBytes(DIGEST_KEY_BYTES);
    const digests = rows.digest(digestKey, changed);
    return { body: encodeRangeBody({ leftOut, digestKey, digests }), count: digests.rows };
  }
  const read = new Map(rows.single().map(({ key, row }) => [keyText(key), row]));
  const asked: KeyedRow[] = [];
  for (const key of opened.keys) {
    const text = keyText(key);
    if (!changed.has(text)) asked.push({ key, row: read.get(text) ?? null });
  }
  return { body: encodeKeysBody({ leftOut, rows: asked }), count: asked.filter(({ row }) => row !== null).length };
}
