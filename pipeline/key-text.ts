import type { KeyBytes } from "./entry.ts";

/** KeyBytes as a string, one character a byte: how sets and maps of keys hold them. */
export function keyText(key: KeyBytes): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
}
