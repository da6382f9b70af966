import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { DirectoryChunkStore } from "../../pipeline/chunk-store/directory.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { LaneId } from "../../pipeline/entry.ts";
import { chunkStoreContract } from "./chunk-store.contract.ts";

const folder = mkdtempSync(join(tmpdir(), "dray-chunks-"));
const root = join(folder, "chunks");
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function newStore() {
  return new DirectoryChunkStore({ folder: root, clock: systemClock });
}

describe("chunk store in a directory", () => {
  chunkStoreContract(
    async () => newStore(),
    async (key) => {
      const path = join(root, key);
      const bytes = readFileSync(path);
      bytes[100] = (bytes[100] as number) ^ 1;
      writeFileSync(path, bytes);
    },
  );

  test("K5: folders are 0700 and files 0600", async () => {
    const { key } = await newStore().put("acme.db.f1" as LaneId, 1, Buffer.from("a"));
    const file = join(root, key);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    for (const path of [dirname(file), dirname(dirname(file)), root]) expect(statSync(path).mode & 0o777).toBe(0o700);
  });

  test("a put that fails leaves nothing behind", async () => {
    writeFileSync(join(folder, "a-file"), "");
    const store = new DirectoryChunkStore({ folder: join(folder, "a-file"), clock: systemClock });
    await expect(store.put("acme.db.f1" as LaneId, 1, Buffer.from("a"))).rejects.toMatchObject({
      code: "LOG_UNAVAILABLE",
    });
  });
});
