import { describe, expect, test } from "vitest";
import type { LogAnchor } from "../../pipeline/entry.ts";
import { openBody } from "../../pipeline/entry-codec.ts";
import { givenLog, type LogHarness } from "./change-log.contract.ts";
import {
  anchorOfEntry,
  appendMany,
  changesDraft,
  collector,
  newLane,
  noise,
  openOptions,
  readSome,
  seqs,
  upTo,
} from "./log-drafts.ts";

const MIB = 1024 * 1024;

/** L6: bodies of every size, and what removes them. Every ChangeLog passes it. */
export function bodiesContract(makeHarness: () => Promise<LogHarness>): void {
  const given = givenLog(makeHarness);
  describe("L6 bodies", () => {
    test("from 0 bytes to 20 MiB come back as they were; above 8 MiB through the chunk store", async () => {
      const lane = newLane();
      const writer = await given.log.openWriter(openOptions(lane));
      const bodies = [0, 1, 511, 513, 65_536, MIB, 8 * MIB, 8 * MIB + 1, 20 * MIB].map(noise);
      bodies.push(Buffer.alloc(20 * MIB, "a"));
      for (const [i, body] of bodies.entries()) await writer.append(changesDraft(`p${i + 1}`, body));
      const entries = await readSome(given.log, lane, bodies.length);
      for (const [i, body] of bodies.entries()) {
        const entry = entries[i] as (typeof entries)[0];
        expect(Buffer.compare(await openBody(entry, given.harness.chunkStore), body)).toBe(0);
        const isLarge = i === 7 || i === 8;
        expect(entry.header.body.chunkKey !== null).toBe(isLarge);
      }
      await writer.close();
      await given.log.drop(lane);
      await expect(openBody(entries[8] as (typeof entries)[0], given.harness.chunkStore)).rejects.toMatchObject({
        code: "CHUNK_LOST",
      });
    });

    test("a reader that takes bodies from memory gets each as it was written, wherever it comes from", async () => {
      const lane = newLane();
      const { log } = given;
      const writer = await log.openWriter(openOptions(lane));
      const released = new Set<number>();
      const body = (i: number) => Buffer.alloc(i * 37, `entry ${i} `);
      const append = async (from: number, to: number) => {
        for (let i = from; i <= to; i++) {
          await writer.append({ ...changesDraft(`p${i}`, body(i)), release: () => void released.add(i) });
        }
      };
      await append(1, 40);
      const stop = new AbortController();
      const reading = (async () => {
        let seen = 0;
        for await (const batch of log.read({ lane, after: null, takesHeld: true, signal: stop.signal })) {
          for (const entry of batch) {
            const plain = await openBody(entry, given.harness.chunkStore);
            expect(Buffer.compare(plain, body(entry.header.seq))).toBe(0);
            expect(entry.header.seq).toBe(++seen);
            entry.held?.release();
          }
          if (seen === 240) return;
        }
      })();
      await append(41, 240);
      await reading;
      stop.abort();
      // Nobody reads any more: what comes now is nobody's to keep.
      await append(241, 250);
      await expect.poll(() => [...released].filter((i) => i <= 40 || i > 240).length).toBe(50);
    });
    test("a slow consumer holds one batch and a prefetch, not the lane", async () => {
      const lane = newLane();
      const writer = await given.log.openWriter(openOptions(lane));
      for (let i = 0; i < 48; i++) await writer.append(changesDraft(`p${i + 1}`, noise(MIB)));
      const collect = collector();
      collect();
      const before = process.memoryUsage().arrayBuffers;
      let most = 0;
      let largest = 0;
      let count = 0;
      for await (const batch of given.log.read({ lane, after: null, signal: AbortSignal.timeout(60_000) })) {
        // Time enough to read far ahead, for a log that would.
        await new Promise((resolve) => setTimeout(resolve, 50));
        collect();
        most = Math.max(most, process.memoryUsage().arrayBuffers - before);
        largest = Math.max(
          largest,
          batch.reduce((sum, entry) => sum + entry.stored.length, 0),
        );
        count += batch.length;
        if (count === 48) break;
      }
      expect(largest).toBeLessThanOrEqual(9 * MIB);
      expect(most).toBeLessThan(24 * MIB);
      await writer.close();
      await given.log.drop(lane);
    });
  });

  describe("L6 trim and drop", () => {
    test("trim keeps the anchor's entry, while a reader and the writer are at work", async () => {
      const lane = newLane();
      const writer = await given.log.openWriter(openOptions(lane));
      const total = 600;
      const reading = (async () => {
        const seen: number[] = [];
        for await (const batch of given.log.read({ lane, after: null, signal: AbortSignal.timeout(60_000) })) {
          seen.push(...seqs(batch));
          const last = batch.at(-1);
          if (last && seen.length % 3 === 0) await given.log.trim(lane, anchorOfEntry(last));
          if (seen.length === total) break;
        }
        return seen;
      })();
      for (let n = 1; n <= total; n += 20) await appendMany(writer, 20, n);
      expect(await reading).toEqual(upTo(total));
      const anchors = await appendMany(writer, 10, total + 1);
      const anchor = anchors[4] as LogAnchor;
      await given.log.trim(lane, anchor);
      expect(await given.log.stats(lane)).toMatchObject({ firstSeq: anchor.seq, lastSeq: total + 10 });
      expect(seqs(await readSome(given.log, lane, 5, anchor))).toEqual(upTo(5, anchor.seq + 1));
      await expect(readSome(given.log, lane, 1, anchors[0])).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
      await appendMany(writer, 1, total + 11);
      await writer.close();
      const again = await given.log.openWriter(openOptions(lane, { checkpoint: anchors[0] as LogAnchor, anchor }));
      expect(again.tail?.seq).toBe(total + 11);
      await again.close();
    });

    test("trim removes the chunk store's objects of the entries it removes, and no other", async () => {
      const lane = newLane();
      const writer = await given.log.openWriter(openOptions(lane));
      for (const n of [1, 2]) await writer.append(changesDraft(`p${n}`, noise(8 * MIB + 1)));
      await writer.close();
      const [, second] = await readSome(given.log, lane, 2);
      await given.log.trim(lane, anchorOfEntry(second as NonNullable<typeof second>));
      const keys: string[] = [];
      for await (const { key } of given.harness.chunkStore.list(lane)) keys.push(key);
      expect(keys).toEqual([second?.header.body.chunkKey]);
      await given.log.drop(lane);
    });

    test("a dropped lane is empty when it is made again; its old writer and reader end", async () => {
      const lane = newLane();
      const old = await given.log.openWriter(openOptions(lane));
      const anchors = await appendMany(old, 5);
      const reading = readSome(given.log, lane, 1, anchors[4]);
      const ended = expect(reading).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
      await new Promise((resolve) => setTimeout(resolve, 300));
      await given.log.drop(lane);
      await ended;
      expect(await given.log.stats(lane)).toEqual({ entries: 0, bytes: 0, firstSeq: null, lastSeq: null });
      await expect(old.append(changesDraft("zombie"))).rejects.toThrow();
      await given.log.drop(lane);
      const writer = await given.log.openWriter(openOptions(lane, { aboveEpoch: old.epoch }));
      expect(writer.tail).toBeNull();
      await appendMany(writer, 2);
      expect(seqs(await readSome(given.log, lane, 2))).toEqual([1, 2]);
      await expect(readSome(given.log, lane, 1, anchors[4])).rejects.toMatchObject({ code: "LOG_TRUNCATED" });
      await writer.close();
    });

    test("stats tell entries, bytes and reach", async () => {
      const lane = newLane();
      const writer = await given.log.openWriter(openOptions(lane));
      await writer.append(changesDraft("p1", noise(100_000)));
      await appendMany(writer, 9, 2);
      const stats = await given.log.stats(lane);
      expect(stats).toMatchObject({ firstSeq: 1, lastSeq: 10 });
      expect(stats.entries).toBeGreaterThanOrEqual(10);
      expect(stats.bytes).toBeGreaterThan(100_000);
      await writer.close();
    });
  });
}
