import { DirectoryChunkStore } from "../../pipeline/chunk-store/directory.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { LaneId } from "../../pipeline/entry.ts";
import { KafkaLog } from "../../pipeline/log/kafka-log.ts";
import { appendMany, openOptions } from "./log-drafts.ts";

/* A process with a writer and a reader that have nothing to do; says what that costs. */
const IDLE_MS = 3_000;
const { lane, folder, brokers } = JSON.parse(process.argv[2] ?? "") as {
  readonly lane: LaneId;
  readonly folder: string;
  readonly brokers: readonly string[];
};
const chunkStore = new DirectoryChunkStore({ folder: `${folder}/chunks`, clock: systemClock });
const log = new KafkaLog({ connection: { brokers }, chunkStore, clock: systemClock });
const writer = await log.openWriter(openOptions(lane));
await appendMany(writer, 10);
for await (const batch of log.read({ lane, after: null, signal: AbortSignal.timeout(IDLE_MS + 1_500) })) {
  if (batch.at(-1)?.header.seq === 10) void measure();
}

async function measure(): Promise<void> {
  await systemClock.sleep(1_000);
  const before = process.cpuUsage();
  await systemClock.sleep(IDLE_MS);
  const { user, system } = process.cpuUsage(before);
  process.stdout.write(JSON.stringify({ idleCpuMs: (user + system) / 1000, idleMs: IDLE_MS }));
  process.exit(0);
}
