import { expect, test } from "vitest";
import { BufferPool } from "../../connectors/mysql/buffer-pool.ts";

const MIB = 1024 * 1024;

test("a buffer that came back is given out again, to one at a time, and never a smaller one than was asked for", () => {
  const pool = new BufferPool();
  const first = pool.take(MIB);
  pool.give(first);
  const again = pool.take(MIB / 2);
  expect(again).toBe(first);
  expect(pool.take(MIB / 2)).not.toBe(first);
  pool.give(again);
  expect(pool.take(2 * MIB).length).toBeGreaterThanOrEqual(2 * MIB);
  // The one that was too small made room for what is wanted now.
  expect(pool.take(MIB)).not.toBe(first);
});

test("what comes back beyond 40 MiB is left to the collector", () => {
  const pool = new BufferPool();
  const buffers = Array.from({ length: 50 }, () => pool.take(MIB));
  for (const buffer of buffers) pool.give(buffer);
  const again = new Set(Array.from({ length: 50 }, () => pool.take(MIB)));
  expect(buffers.filter((buffer) => again.has(buffer))).toHaveLength(40);
});
