import { readFileSync } from "node:fs";
import { z } from "zod";
import { UsageError } from "./usage-error.ts";

/** What preflight and start are told: a manifest, a tenant key, a from and a to. */
export const moveRequestOptions = {
  manifest: z.string().min(1).describe("The system's manifest"),
  tenant: z.string().min(1).describe("The tenant's key, exactly as it stands in the database"),
  from: z.string().min(1).describe("The cluster the tenant lives on"),
  to: z.string().min(1).describe("The cluster it moves to"),
};
export const moveRequestFlags = {
  manifest: "--manifest <file>",
  tenant: "--tenant <key>",
  from: "--from <cluster>",
  to: "--to <cluster>",
};

type Given = { readonly manifest: string; readonly tenant: string; readonly from: string; readonly to: string };

/** The file is read here: the server need not see this machine's folders. */
export function moveRequest({ manifest, tenant, from, to }: Given): Record<string, unknown> {
  return { manifest: readFile(manifest), manifestFile: manifest, tenant, from, to };
}

export function readFile(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const why = error instanceof Error && "code" in error ? String(error.code) : String(error);
    throw new UsageError(`${file} cannot be read (${why})`);
  }
}
