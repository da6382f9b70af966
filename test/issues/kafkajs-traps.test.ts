import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DirectoryChunkStore } from "../../pipeline/chunk-store/directory.ts";
import { systemClock } from "../../pipeline/clock.ts";
import { kafkaClient } from "../../pipeline/log/kafka-client.ts";
import { KafkaLog } from "../../pipeline/log/kafka-log.ts";
import { laneName } from "../../pipeline/log/lane-name.ts";
import { appendMany, changesDraft, newLane, openOptions, readSome, seqs, upTo } from "../contracts/log-drafts.ts";
import { describeWithKafka } from "../setup/shared-servers.ts";

/** What kafkajs 2.2.4 does with a topic that goes away, and what it does not decompress. */
describeWithKafka("traps of kafkajs", ({ brokers }) => {
  let folder: string;
  let log: KafkaLog;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "dray-kafkajs-"));
    const chunkStore = new DirectoryChunkStore({ folder, clock: systemClock });
    log = new KafkaLog({ connection: { brokers }, chunkStore, clock: systemClock });
  });
  afterAll(async () => {
    await log?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test("a deleted topic breaks every producer that has written to it: other lanes of ours never notice", async () => {
    const [gone, kept] = [newLane(), newLane()];
    const [first, second] = [await log.openWriter(openOptions(gone)), await log.openWriter(openOptions(kept))];
    await appendMany(first, 3);
    await appendMany(second, 3);

    const raw = kafkaClient({ brokers }).producer();
    await raw.connect();
    const to = (lane: typeof gone) => ({ topic: `dray.${laneName(lane)}`, messages: [{ partition: 0, value: "raw" }] });
    const other = newLane();
    const third = await log.openWriter(openOptions(other));
    await third.close();
    await raw.send(to(other));
    await raw.send(to(gone));

    await log.drop(gone);
    await systemClock.sleep(300);
    const naive = [await outcome(raw.send(to(gone))), await outcome(raw.send(to(other)))];
    expect(naive[0]).not.toBe("sent");
    await raw.disconnect().catch(() => {});

    await expect(first.append(changesDraft("zombie"))).rejects.toThrow();
    for (let round = 0; round < 3; round++) {
      await appendMany(second, 3, 4 + 3 * round);
      await systemClock.sleep(200);
    }
    expect(seqs(await readSome(log, kept, 12))).toEqual(upTo(12));
    await second.close();
    await log.drop(kept);
    await log.drop(other);
  });

  test("without plug-ins it knows gzip only: what stands in a topic is compressed by us, not by it", async () => {
    const lane = newLane();
    const writer = await log.openWriter(openOptions(lane));
    const body = Buffer.alloc(2_000_000, "the same again ");
    const { header } = await writer.append(changesDraft("p1", body));
    expect(header.body.storedBytes).toBeLessThan(body.length / 100);
    await writer.close();
    await log.drop(lane);
    const sources = new URL("../../pipeline/log/", import.meta.url);
    for (const name of readdirSync(sources)) {
      expect(readFileSync(new URL(name, sources), "utf8"), name).not.toMatch(/CompressionTypes|compression:/);
    }
  });
});

async function outcome(sending: Promise<unknown>): Promise<string> {
  return await sending.then(
    () => "sent",
    (error: Error) => error.name,
  );
}
