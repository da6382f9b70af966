import { hash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { mkdir, open, readdir, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock } from "../clock.ts";
import type { LaneId } from "../entry.ts";
import { DrayError } from "../errors.ts";
import { laneName } from "../log/lane-name.ts";
import type { ChunkStore, StoredChunk } from "./chunk-store.ts";

const KEY = /^[a-z0-9_][a-z0-9._-]*\/[0-9]+\/[0-9a-f]{32}$/;

export type DirectoryOptions = { readonly folder: string; readonly clock: Clock };

/** L6: bodies as files `folder/lane/epoch/random`, readable by this user only. */
export class DirectoryChunkStore implements ChunkStore {
  readonly #folder: string;
  readonly #clock: Clock;
  /** Folders whose own entry in their parent is durable. */
  readonly #synced = new Set<string>();

  constructor(options: DirectoryOptions) {
    this.#folder = options.folder;
    this.#clock = options.clock;
  }

  async put(lane: LaneId, epoch: number, body: Uint8Array): Promise<StoredChunk> {
    const key = `${laneName(lane)}/${epoch}/${randomBytes(16).toString("hex")}`;
    const path = this.#path(key);
    try {
      await this.#makeFolder(dirname(path));
      const file = await open(path, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o600);
      try {
        await file.writeFile(body);
        await file.sync();
      } finally {
        await file.close();
      }
      await syncFolder(dirname(path));
    } catch (error) {
      await rm(path, { force: true }).catch(() => {});
      throw storeError(error, key);
    }
    return { key, sha256: hash("sha256", body), bytes: body.length };
  }

  async get(chunk: StoredChunk): Promise<Uint8Array> {
    const body = await this.#read(chunk.key);
    const found = hash("sha256", body);
    if (found === chunk.sha256 && body.length === chunk.bytes) return body;
    throw new DrayError("CHUNK_DAMAGED", {
      key: chunk.key,
      sha256: found,
      expectedSha256: chunk.sha256,
      bytes: body.length,
      expectedBytes: chunk.bytes,
    });
  }

  async delete(key: string): Promise<void> {
    await rm(this.#path(key), { force: true });
  }

  async *list(lane: LaneId): AsyncIterable<{ readonly key: string; readonly epoch: number; readonly ageMs: number }> {
    const name = laneName(lane);
    for (const epoch of await filesIn(join(this.#folder, name))) {
      for (const file of await filesIn(join(this.#folder, name, epoch))) {
        const key = `${name}/${epoch}/${file}`;
        if (!KEY.test(key)) continue;
        const facts = await stat(this.#path(key)).catch(ignoreMissing);
        if (facts) yield { key, epoch: Number(epoch), ageMs: this.#clock.wallMs() - facts.mtimeMs };
      }
    }
  }

  async dropLane(lane: LaneId): Promise<void> {
    const folder = join(this.#folder, laneName(lane));
    for (const known of this.#synced)
      if (known === folder || known.startsWith(`${folder}/`)) this.#synced.delete(known);
    await rm(folder, { recursive: true, force: true });
  }

  async #read(key: string): Promise<Uint8Array> {
    try {
      const file = await open(this.#path(key), "r");
      try {
        return await file.readFile();
      } finally {
        await file.close();
      }
    } catch (error) {
      if (isMissing(error)) throw new DrayError("CHUNK_LOST", { key }, error);
      throw storeError(error, key);
    }
  }

  /** A key comes from the log; one that is not of our making must not lead out of the folder. */
  #path(key: string): string {
    if (!KEY.test(key)) throw new DrayError("CHUNK_LOST", { key, reason: "not a key of this store" });
    return join(this.#folder, key);
  }

  async #makeFolder(folder: string): Promise<void> {
    if (this.#synced.has(folder)) return;
    if (folder !== this.#folder) await this.#makeFolder(dirname(folder));
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await syncFolder(dirname(folder));
    this.#synced.add(folder);
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function filesIn(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(ignoreMissing)) ?? [];
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

function ignoreMissing(error: unknown): undefined {
  if (!isMissing(error)) throw error;
}

function storeError(error: unknown, key: string): DrayError {
  if (error instanceof DrayError) return error;
  const reason = error instanceof Error && "code" in error ? String(error.code) : String(error);
  const full = reason === "ENOSPC" || reason === "EDQUOT";
  return new DrayError(full ? "LOG_FULL" : "LOG_UNAVAILABLE", { chunkKey: key, reason }, error);
}
