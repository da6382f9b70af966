import { cpSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { backup, DatabaseSync } from "node:sqlite";

const DATABASES = ["control.db", "log.sqlite"];

/** A data folder as a backup tool would copy it: each database whole at some moment, the rest as it stands. */
export async function copyDataFolder(from: string, to: string): Promise<void> {
  mkdirSync(to, { recursive: true });
  for (const name of DATABASES) {
    if (!existsSync(join(from, name))) continue;
    const source = new DatabaseSync(join(from, name), { timeout: 10_000, readOnly: true });
    await backup(source, join(to, name));
    source.close();
  }
  for (const name of ["installation", "chunks"]) {
    if (existsSync(join(from, name))) cpSync(join(from, name), join(to, name), { recursive: true });
  }
}
