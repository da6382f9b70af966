import { chmodSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { FastifyInstance } from "fastify";
import type { Logger } from "pino";
import type { MoveService } from "../cutover/move-service.ts";
import type { Listen, ServerConfig } from "../cutover/server-settings.ts";
import { DrayError } from "../pipeline/errors.ts";
import { buildApi } from "./api.ts";
import { socketAuthenticator, tokenAuthenticator } from "./auth.ts";
import { readOrWriteTokens } from "./token-file.ts";

export type RunningService = { readonly service: MoveService; close(): Promise<void> };

export type OpenServerOptions = {
  readonly config: ServerConfig;
  readonly logger: Logger;
  readonly version: string;
  /** The whole of what moves tenants; opened once the folder is ours, closed before it is let go. */
  readonly open: () => Promise<RunningService>;
};

export type RunningServer = {
  /** A URL, or the socket's path. */
  readonly address: string;
  /** Where the tokens are, on TCP. */
  readonly tokenFile: string | null;
  close(): Promise<void>;
};

/**
 * K3, K5: one process a data folder, which is its owner's alone. LOG_LOCKED where another process has it, ADDRESS_IN_USE
 * where another listens.
 */
export async function openServer(options: OpenServerOptions): Promise<RunningServer> {
  const { config } = options;
  mkdirSync(config.dataDir, { recursive: true, mode: 0o700 });
  chmodSync(config.dataDir, 0o700);
  const lock = lockFolder(config.dataDir);
  try {
    const running = await options.open();
    try {
      const { app, address, tokenFile } = await listen(options, running.service);
      return {
        address,
        tokenFile,
        async close() {
          await app.close();
          await running.close();
          lock.close();
        },
      };
    } catch (error) {
      await running.close();
      throw error;
    }
  } catch (error) {
    lock.close();
    throw error;
  }
}

/** SQLite's lock is the system's own: it ends with the process, however that ends. */
function lockFolder(dataDir: string): DatabaseSync {
  const lock = new DatabaseSync(join(dataDir, "server.lock"), { timeout: 0 });
  try {
    lock.exec("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE");
  } catch (error) {
    lock.close();
    throw new DrayError("LOG_LOCKED", { dataDir }, error);
  }
  return lock;
}

type Listening = { readonly app: FastifyInstance; readonly address: string; readonly tokenFile: string | null };

async function listen(options: OpenServerOptions, service: MoveService): Promise<Listening> {
  const { config, logger, version } = options;
  if (config.listen.kind === "unix") {
    const { path } = config.listen;
    const app = await buildApi({ service, authenticator: socketAuthenticator, logger, version });
    await removeStaleSocket(path);
    // Between listening and chmod nobody else may connect: the mode comes with the creation.
    const before = process.umask(0o177);
    try {
      await listening(app, config.listen, () => app.listen({ path }));
    } finally {
      process.umask(before);
    }
    return { app, address: path, tokenFile: null };
  }
  const { tokens, file } = readOrWriteTokens(config.dataDir);
  const authenticator = tokenAuthenticator([...config.tokens, ...tokens]);
  const app = await buildApi({ service, authenticator, logger, version });
  const { host, port } = config.listen;
  const address = await listening(app, config.listen, () => app.listen({ host, port }));
  return { app, address, tokenFile: file };
}

async function listening<Result>(app: FastifyInstance, where: Listen, start: () => Promise<Result>): Promise<Result> {
  try {
    return await start();
  } catch (error) {
    await app.close();
    if (!(error instanceof Error && "code" in error && error.code === "EADDRINUSE")) throw error;
    const place = where.kind === "unix" ? { socket: where.path } : { host: where.host, port: where.port };
    throw new DrayError("ADDRESS_IN_USE", place, error);
  }
}

/** A socket that nobody answers on was left by a process that was killed. */
async function removeStaleSocket(path: string): Promise<void> {
  if (!existsSync(path)) return;
  const answered = await new Promise<boolean>((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
  if (answered) throw new DrayError("ADDRESS_IN_USE", { socket: path });
  rmSync(path);
}
