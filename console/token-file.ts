import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { ROLES } from "../cutover/move-service.ts";
import type { TokenConfig } from "../cutover/server-settings.ts";
import { DrayError } from "../pipeline/errors.ts";

const tokens = z.record(z.enum(ROLES), z.string().min(20));

/** K5: one token a role, made on the first start on TCP, readable by the server's owner alone. */
export function readOrWriteTokens(dataDir: string): { readonly tokens: readonly TokenConfig[]; readonly file: string } {
  const file = join(dataDir, "tokens.json");
  const made = Object.fromEntries(ROLES.map((role) => [role, randomBytes(32).toString("base64url")]));
  try {
    writeFileSync(file, `${JSON.stringify(made, null, 2)}\n`, { mode: 0o600, flag: "wx", flush: true });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
  return { tokens: parse(readFileSync(file, "utf8"), file), file };
}

function parse(text: string, file: string): readonly TokenConfig[] {
  try {
    return Object.entries(tokens.parse(JSON.parse(text))).map(([role, token]) => {
      return { name: `tokens.json ${role}`, role: z.enum(ROLES).parse(role), token };
    });
  } catch {
    // The parser's own message would quote a token.
    throw new DrayError("CONFIG_INVALID", {
      file,
      finding: "it is not {read, operate, admin}; remove it to have it made anew",
    });
  }
}
