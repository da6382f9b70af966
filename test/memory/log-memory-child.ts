import { statSync } from "node:fs";
import { DirectoryChunkStore } from "../../pipeline/chunk-store/directory.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { LaneId } from "../../pipeline/entry.ts";
import { SqliteLog } from "../../pipeline/log/sqlite-log.ts";
import { anchorOfEntry, changesDraft, noise, openOptions } from "../contracts/log-drafts.ts";

/* A process of its own, so that its memory is the log's: a writer that is held back by nothing but its own awaiting. */
const ENTRIES = 512;
const WARM_AFTER = 64;
const folder = process.argv[2] ?? "";
const chunkStore = new DirectoryChunkStore({ folder: `${folder}/chunks`, clock: systemClock });
const log = new SqliteLog({ folder, chunkStore, clock: systemClock });
const lane = "acme.db.f1" as LaneId;
const writer = await log.openWriter(openOptions(lane));
const bodies = Array.from({ length: 4 }, () => noise(1024 * 1024));

let warmBytes = 0;
let entries = 0;
const writing = (async () => {
  for (let i = 1; i <= ENTRIES; i += 2) {
    const drafts = [i, i + 1].map((n) => changesDraft(`p${n}`, bodies[n % 4]));
    await Promise.all(drafts.map((draft) => writer.append(draft)));
    // Ahead of the reader by a bounded stretch, as lag is.
    while (i - entries > 48) await systemClock.sleep(2);
  }
})();
for await (const batch of log.read({ lane, after: null, signal: AbortSignal.timeout(100_000) })) {
  await systemClock.sleep(3);
  entries += batch.length;
  const last = batch.at(-1);
  if (last && last.header.seq % 16 === 0) await log.trim(lane, anchorOfEntry(last));
  if (entries >= WARM_AFTER && warmBytes === 0) warmBytes = residentBytes();
  if (entries === ENTRIES) break;
}
await writing;
const endBytes = residentBytes();
const fileBytes = statSync(`${folder}/log.sqlite`).size;
await log.close();
process.stdout.write(JSON.stringify({ warmBytes, endBytes, fileBytes, entries }));

function residentBytes(): number {
  globalThis.gc?.();
  return process.memoryUsage().rss;
}
