import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { LaneId } from "../../pipeline/entry.ts";

/** Where a lane keeps what is verified of it, beside the sink (V2). */
export interface VerifyMemory {
  /** Null where nothing was kept. */
  load(lane: LaneId): Promise<Uint8Array | null>;
  /** Durable when it resolves; what was kept before stands until then. */
  save(lane: LaneId, bytes: Uint8Array): Promise<void>;
  drop(lane: LaneId): Promise<void>;
}

/** One file a lane. A file that is lost costs a pass, never a wrong word. */
export class VerifyFiles implements VerifyMemory {
  readonly #folder: string;

  constructor(options: { readonly folder: string }) {
    this.#folder = options.folder;
  }

  async load(lane: LaneId): Promise<Uint8Array | null> {
    return await readFile(this.#file(lane)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return null;
      throw error;
    });
  }

  async save(lane: LaneId, bytes: Uint8Array): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const file = this.#file(lane);
    const next = `${file}.new`;
    const handle = await open(next, "w", 0o600);
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(next, file);
  }

  async drop(lane: LaneId): Promise<void> {
    for (const file of [this.#file(lane), `${this.#file(lane)}.new`]) await rm(file, { force: true });
  }

  #file(lane: LaneId): string {
    return join(this.#folder, encodeURIComponent(lane));
  }
}
