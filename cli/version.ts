import { existsSync, readFileSync } from "node:fs";

/** Of package.json, which lies one folder up in a checkout and two in a package. */
export function productVersion(): string {
  const near = new URL("../package.json", import.meta.url);
  const file = existsSync(near) ? near : new URL("../../package.json", import.meta.url);
  return (JSON.parse(readFileSync(file, "utf8")) as { readonly version: string }).version;
}
