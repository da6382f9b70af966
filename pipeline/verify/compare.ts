import type { KeyBytes } from "../entry.ts";
import { keyText } from "../key-text.ts";
import type { RowDigests } from "./row-digests.ts";
import type { KeyedRow } from "./verify-body.ts";

/** missing: at the source alone. extra: in the target alone. differing: on both sides with other values. */
export type DifferenceKind = "missing" | "differing" | "extra";

/** At one exact place of the log (V1): it is real, whatever the traffic. */
export type Found = { readonly key: KeyBytes; readonly kind: DifferenceKind };

/** The rows of a range on both sides, but those that are left out. */
export function compareRange(source: RowDigests, target: RowDigests, leftOut: ReadonlySet<string>): readonly Found[] {
  // In one order on both sides: then nobody need look at a key.
  if (leftOut.size === 0 && source.rows === target.rows && Buffer.compare(source.digests, target.digests) === 0) {
    return [];
  }
  const atSource = new Map<string, number>();
  for (let i = 0; i < source.rows; i++) atSource.set(source.keyTextAt(i), i);
  const found: Found[] = [];
  for (let i = 0; i < target.rows; i++) {
    const key = target.keyTextAt(i);
    if (leftOut.has(key)) continue;
    const place = atSource.get(key);
    if (place === undefined) found.push({ key: target.keyAt(i), kind: "extra" });
    else if (source.digestTextAt(place) !== target.digestTextAt(i)) {
      found.push({ key: target.keyAt(i), kind: "differing" });
    }
    atSource.delete(key);
  }
  for (const [key, place] of atSource) if (!leftOut.has(key)) found.push({ key: source.keyAt(place), kind: "missing" });
  return found;
}

export type FoundRow = Found & { readonly source: Uint8Array | null; readonly target: Uint8Array | null };

/** Single rows on both sides. `target` holds at least those of the asked keys that stand there, by their text. */
export function compareRows(asked: readonly KeyedRow[], target: ReadonlyMap<string, Uint8Array>): readonly FoundRow[] {
  const found: FoundRow[] = [];
  for (const { key, row: source } of asked) {
    const there = target.get(keyText(key)) ?? null;
    const kind = differenceOf(source, there);
    if (kind !== null) found.push({ key, kind, source, target: there });
  }
  return found;
}

function differenceOf(source: Uint8Array | null, target: Uint8Array | null): DifferenceKind | null {
  if (source === null) return target === null ? null : "extra";
  if (target === null) return "missing";
  return Buffer.compare(source, target) === 0 ? null : "differing";
}
