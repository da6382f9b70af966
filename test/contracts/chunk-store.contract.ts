import { randomBytes } from "node:crypto";
import { beforeAll, expect, test } from "vitest";
import type { ChunkStore, StoredChunk } from "../../pipeline/chunk-store/chunk-store.ts";
import type { LaneId } from "../../pipeline/entry.ts";

const lane = "Acme/..\u0000é.db.f1" as LaneId;

async function keysOf(store: ChunkStore, of: LaneId): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(of)) keys.push(key);
  return keys.sort();
}

/** Every ChunkStore passes this unchanged (L6). `damage` changes one byte of a stored object behind the store's back. */
export function chunkStoreContract(make: () => Promise<ChunkStore>, damage: (key: string) => Promise<void>): void {
  let store: ChunkStore;
  beforeAll(async () => {
    store = await make();
  });

  test("L6: bodies of 0 bytes to 20 MiB come back as they were", async () => {
    for (const size of [0, 1, 100_000, 20 * 1024 * 1024]) {
      const body = randomBytes(size);
      const chunk = await store.put(lane, 1, body);
      expect(chunk.bytes).toBe(size);
      expect(Buffer.compare(await store.get(chunk), body)).toBe(0);
      await store.delete(chunk.key);
    }
    expect(await keysOf(store, lane)).toEqual([]);
  });

  test("L6: keys are generated, each once, and name the epoch", async () => {
    const chunks = await Promise.all(Array.from({ length: 20 }, () => store.put(lane, 7, Buffer.from("same"))));
    expect(new Set(chunks.map(({ key }) => key)).size).toBe(20);
    for await (const { epoch, ageMs } of store.list(lane)) {
      expect(epoch).toBe(7);
      expect(Math.abs(ageMs)).toBeLessThan(60_000);
    }
    expect(await keysOf(store, lane)).toEqual(chunks.map(({ key }) => key).sort());
    await store.dropLane(lane);
  });

  test("L6: a body that is not what was written is refused with both sha256, a missing one is CHUNK_LOST", async () => {
    const chunk = await store.put(lane, 1, randomBytes(5_000));
    await damage(chunk.key);
    const error = await store.get(chunk).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: "CHUNK_DAMAGED", facts: { expectedSha256: chunk.sha256 } });
    expect((error as { facts: { sha256: string } }).facts.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect((error as { facts: { sha256: string } }).facts.sha256).not.toBe(chunk.sha256);
    await store.delete(chunk.key);
    await expect(store.get(chunk)).rejects.toMatchObject({ code: "CHUNK_LOST" });
    // Again is no error: a trim that was cut short is done again.
    await store.delete(chunk.key);
  });

  test("L6: dropping a lane leaves the others, also where names differ in case only", async () => {
    const other = lane.toLowerCase() as LaneId;
    const [mine, theirs] = [await store.put(lane, 1, Buffer.from("a")), await store.put(other, 1, Buffer.from("b"))];
    await store.dropLane(lane);
    await expect(store.get(mine)).rejects.toMatchObject({ code: "CHUNK_LOST" });
    expect(Buffer.from(await store.get(theirs)).toString()).toBe("b");
    expect(await keysOf(store, lane)).toEqual([]);
    await store.put(lane, 2, Buffer.from("again"));
    expect((await keysOf(store, lane)).length).toBe(1);
    await store.dropLane(lane);
    await store.dropLane(other);
  });

  test("K5: a key that is not of the store's making is not looked up", async () => {
    for (const key of ["../../etc/passwd", "/etc/passwd", "a/1/../../x", ""]) {
      const chunk: StoredChunk = { key, sha256: "", bytes: 0 };
      await expect(store.get(chunk)).rejects.toMatchObject({ code: "CHUNK_LOST" });
      await expect(store.delete(key)).rejects.toMatchObject({ code: "CHUNK_LOST" });
    }
  });
}
