import { DirectoryChunkStore } from "../../pipeline/chunk-store/directory.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { LaneId } from "../../pipeline/entry.ts";
import { SqliteLog } from "../../pipeline/log/sqlite-log.ts";
import type { ProbeName } from "../../pipeline/probe.ts";
import { changesDraft, openOptions } from "../contracts/log-drafts.ts";

export type CrashOptions = {
  readonly folder: string;
  readonly lane: LaneId;
  readonly place: ProbeName;
  /** Dies when the place is reached this often. */
  readonly hit: number;
};

/* A process of its own that goes on with a lane and kills itself at a named place. */
const { folder, lane, place, hit } = JSON.parse(process.argv[2] ?? "") as CrashOptions;
let hits = 0;
const log = new SqliteLog({
  folder,
  chunkStore: new DirectoryChunkStore({ folder: `${folder}/chunks`, clock: systemClock }),
  clock: systemClock,
  probe: async (name) => {
    if (name !== place || ++hits < hit) return;
    await new Promise<void>((resolve) => process.stdout.write(`reached ${name}\n`, () => resolve()));
    process.kill(process.pid, "SIGKILL");
    await new Promise(() => setInterval(() => {}, 1_000));
  },
});
const writer = await log.openWriter(openOptions(lane));
for (let seq = (writer.tail?.seq ?? 0) + 1; ; seq++) {
  await writer.append(changesDraft(`p${seq}`));
  await new Promise<void>((resolve) => process.stdout.write(`${seq}\n`, () => resolve()));
}
