import { DirectoryChunkStore } from "../../pipeline/chunk-store/directory.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { LaneId } from "../../pipeline/entry.ts";
import type { ChangeLog } from "../../pipeline/log/log.ts";
import { SqliteLog } from "../../pipeline/log/sqlite-log.ts";
import { changesDraft, openOptions } from "./log-drafts.ts";

/* A process of its own, to be killed: appends for ever and says each seq once it was acknowledged. */
type ChildOptions = { readonly lane: LaneId; readonly kind: "embedded"; readonly folder: string };

const options = JSON.parse(process.argv[2] ?? "") as ChildOptions;
const log = await openLog(options);
const writer = await log.openWriter(openOptions(options.lane));
for (let n = 1; ; n++) {
  writer.append(changesDraft(`p${n}`)).then(({ header }) => process.stdout.write(`${header.seq}\n`));
  if (n % 7 === 0)
    await writer.append(changesDraft(`p${++n}`)).then(({ header }) => process.stdout.write(`${header.seq}\n`));
}

async function openLog({ folder }: ChildOptions): Promise<ChangeLog> {
  const chunkStore = new DirectoryChunkStore({ folder: `${folder}/chunks`, clock: systemClock });
  return new SqliteLog({ folder, chunkStore, clock: systemClock });
}
