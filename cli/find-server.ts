import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { ServerAddress } from "./api-client.ts";
import { UsageError } from "./usage-error.ts";

export type FindServerOptions = {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly dataDir: string;
};

/** DRAY_URL, else the socket in the data folder. */
export function findServer({ env, dataDir }: FindServerOptions): ServerAddress {
  const url = env["DRAY_URL"];
  if (url === undefined || url === "") return { kind: "socket", path: resolve(dataDir, "dray.sock") };
  if (url.startsWith("unix:")) return { kind: "socket", path: url.slice("unix:".length) };
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new UsageError("DRAY_URL is neither http://HOST:PORT, https://HOST:PORT nor unix:PATH");
  }
  return { kind: "url", url, token: env["DRAY_TOKEN"] ?? ownToken(url, dataDir) };
}

/** The token that the server on this machine wrote at its first start; it is sent to this machine only. */
function ownToken(url: string, dataDir: string): string | null {
  if (!["localhost", "127.0.0.1", "[::1]"].includes(new URL(url).hostname)) return null;
  try {
    const tokens = JSON.parse(readFileSync(join(dataDir, "tokens.json"), "utf8")) as { readonly admin?: string };
    return tokens.admin ?? null;
  } catch {
    return null;
  }
}
