import { join } from "node:path";
import pino from "pino";
import { main } from "../../cli/main.ts";
import type { Terminal } from "../../cli/terminal.ts";
import { openServer, type RunningServer } from "../../console/open-server.ts";
import type { Listen } from "../../cutover/server-settings.ts";
import type { MemoryService } from "./memory-service.ts";

export type Ended = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

/** The API and the command line are the product's own; only the service behind them is the tests' in-memory one. */
export function openMemoryServer(service: MemoryService, listen: Listen, dataDir: string): Promise<RunningServer> {
  const empty = { tokens: [], clusters: {}, adapters: {}, probes: {}, allowedHosts: [], alarm: null };
  const log = { kind: "embedded" } as const;
  const config = {
    ...empty,
    dataDir,
    listen,
    log,
    verifySharePercent: 10,
    heartbeatMs: 250,
    keepAppliedMs: 60_000,
    leaseMs: 30_000,
  };
  const open = async () => ({ service, close: async () => {} });
  return openServer({ config, logger: pino({ level: "silent" }), version: "1.2.3", open });
}

/** In this process: the command line, all but its first line in bin/dray.js. What is `typed` answers every question. */
export async function runDray(
  folder: string,
  args: readonly string[],
  env: Record<string, string> = {},
  typed?: string,
): Promise<Ended> {
  let [stdout, stderr] = ["", ""];
  const terminal: Terminal = {
    interactive: typed !== undefined,
    say: (line) => {
      stderr += `${line}\n`;
    },
    ask: async () => typed ?? "",
  };
  const print = (line: string): void => {
    stdout += `${line}\n`;
  };
  const dataDir = args.includes("--data-dir") ? [] : ["--data-dir", join(folder, "dray-data")];
  const code = await main([...args, ...dataDir], { env: { HOME: "/nowhere", ...env }, terminal, print });
  return { code, stdout, stderr };
}
