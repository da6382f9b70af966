import { setFlagsFromString } from "node:v8";
import pino, { type Logger } from "pino";
import { z } from "zod";
import type { ServerConfigOptions } from "../console/server-config.ts";
import { systemClock } from "../pipeline/clock.ts";
import type { FileFinding } from "../pipeline/file-finding.ts";
import { command, EXIT } from "./command.ts";
import { findingsResult } from "./file-findings.ts";
import { readFile } from "./move-request.ts";
import { productVersion } from "./version.ts";

/** The one verb that is the server and no client of it; what it loads, the others never do. */
export default command({
  name: "serve",
  summary: "Runs the server: capture, apply and control in one process.",
  options: z.object({
    config: z.string().min(1).default("dray.yaml").describe("The server's configuration"),
    logLevel: z.enum(["error", "warn", "info", "debug"]).default("info").describe("error, warn, info or debug"),
  }),
  flags: { config: "--config <file>", logLevel: "--log-level <level>" },
  async run({ json, dataDir, env, print, signal, terminal }, { config: file, logLevel }) {
    const { readServerConfig } = await import("../console/server-config.ts");
    const folder = dataDir === DEFAULT_DATA_DIR ? null : dataDir;
    const { config, findings } = readServerConfig({ text: readFile(file), file, env, dataDir: folder });
    if (config === null) return findingsResult({ findings, good: "", next: [] });
    // K5: what the server writes is its owner's alone, in whatever folder it lies.
    process.umask(0o077);
    const logger = loggerOf(logLevel, terminal.interactive);
    for (const { place, message, remedy } of findings) logger.warn({ place, remedy }, message);
    const { openServer } = await import("../console/open-server.ts");
    const { openDray } = await import("../cutover/dray.ts");
    const version = productVersion();
    const server = await openServer({
      config,
      logger,
      version,
      open: () => openDray(config, { logger, clock: systemClock, version }),
    });
    keepYoungHeapSmall();
    logger.info({ address: server.address, tokens: server.tokenFile ?? "none needed" }, "dray serves");
    if (json) print(JSON.stringify({ address: server.address, tokenFile: server.tokenFile }));
    await stopped(signal);
    logger.info("dray stops");
    await server.close();
    return { lines: [], json: undefined, next: [], exitCode: EXIT.done };
  },
});

/**
 * The young part of the heap has grown to some 32 MiB by now. Under a copy the engine would let it grow to 128 MiB and
 * keep them, and save next to nothing by it: what is young here dies young.
 */
function keepYoungHeapSmall(): void {
  setFlagsFromString("--semi-space-growth-factor=1");
}

const DEFAULT_DATA_DIR = "./dray-data";

function stopped(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** To stderr, so that stdout stays for answers. K5: what might hold a secret never gets in. */
function loggerOf(level: string, pretty: boolean): Logger {
  const redact = ["*.password", "*.token", "*.authorization", "headers.authorization"];
  if (!pretty)
    return pino({ level, redact, base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination(2));
  const transport = pino.transport({ target: "pino-pretty", options: { destination: 2, ignore: "pid,hostname" } });
  return pino({ level, redact, base: null }, transport);
}

/** For `config check`, which needs no server. */
export async function checkConfig(options: ServerConfigOptions): Promise<readonly FileFinding[]> {
  const { readServerConfig } = await import("../console/server-config.ts");
  return readServerConfig(options).findings;
}

/** For `manifest schema` and `config schema`, which need no server. */
export async function jsonSchemas(): Promise<{ readonly manifest: unknown; readonly config: unknown }> {
  const { manifestJsonSchema } = await import("../pipeline/manifest.ts");
  const { serverConfigJsonSchema } = await import("../console/server-config-file.ts");
  return { manifest: manifestJsonSchema(), config: serverConfigJsonSchema() };
}
