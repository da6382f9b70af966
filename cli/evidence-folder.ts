import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { UsageError } from "./usage-error.ts";

export type WrittenFile = { readonly file: string; readonly sha256: string; readonly bytes: number };

export const SUMS = "SHA256SUMS";

/** A folder is never written into where anything stands: evidence of one moment is not mixed with that of another. */
export function requireFree(folder: string): void {
  let found: readonly string[];
  try {
    found = readdirSync(folder);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return;
    throw new UsageError(`${folder} cannot be written (${codeOf(error)}): name another folder with --out`);
  }
  if (found.length > 0) throw new UsageError(`${folder} is not empty: name another folder with --out`);
}

/** Equal answers are equal files: fields stand in the order of their names. */
export function jsonText(value: unknown): string {
  return `${JSON.stringify(value, (_, each) => (isPlain(each) ? sorted(each) : each), 2)}\n`;
}

export function sha256Of(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** As `sha256sum -c` reads it. */
export function sumsText(files: readonly WrittenFile[]): string {
  return files.map(({ file, sha256 }) => `${sha256}  ${file}\n`).join("");
}

/** All files or none: they are written beside the folder, durable, and take its name at once. */
export function writeFolder(folder: string, texts: ReadonlyMap<string, string>): void {
  const beside = join(dirname(folder), `.${basename(folder)}.${randomBytes(6).toString("hex")}`);
  try {
    mkdirSync(beside, { mode: 0o700 });
    for (const [file, text] of texts) writeFileSync(join(beside, file), text, { mode: 0o600, flag: "wx", flush: true });
    // An empty folder of that name gives way; one that has been filled meanwhile does not.
    renameSync(beside, folder);
  } catch (error) {
    rmSync(beside, { recursive: true, force: true });
    throw new UsageError(`${folder} cannot be written (${codeOf(error)}): name another folder with --out`);
  }
}

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function sorted(value: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)));
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : String(error);
}
