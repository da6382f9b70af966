import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { DrayError } from "../errors.ts";

/**
 * One process, and one log in it, uses a data folder (L4). The lock is SQLite's own on a file beside the log: the
 * operating system frees it when the process ends, however it ends.
 */
export class FolderLock {
  readonly #file: DatabaseSync;

  constructor(folder: string) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#file = new DatabaseSync(join(folder, "lock"), { timeout: 0 });
    try {
      this.#file.exec("BEGIN EXCLUSIVE");
    } catch (error) {
      this.#file.close();
      throw new DrayError("LOG_LOCKED", { folder }, error);
    }
  }

  release(): void {
    this.#file.close();
  }
}
