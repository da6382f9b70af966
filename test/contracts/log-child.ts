import { DirectoryChunkStore } from "../../pipeline/chunk-store/directory.ts";
import { systemClock } from "../../pipeline/clock.ts";
import type { LaneId } from "../../pipeline/entry.ts";
import { KafkaLog } from "../../pipeline/log/kafka-log.ts";
import type { ChangeLog } from "../../pipeline/log/log.ts";
import { SqliteLog } from "../../pipeline/log/sqlite-log.ts";
import { changesDraft, openOptions } from "./log-drafts.ts";

/* A process of its own, to be killed: appends for ever and says each seq once it was acknowledged. */
type ChildOptions =
  | { readonly lane: LaneId; readonly kind: "embedded"; readonly folder: string }
  | { readonly lane: LaneId; readonly kind: "kafka"; readonly folder: string; readonly brokers: readonly string[] };

const options = JSON.parse(process.argv[2] ?? "") as ChildOptions;
const log = openLog(options);
const writer = await log.openWriter(openOptions(options.lane));
for (let n = 1; ; n++) {
  const appended = writer.append(changesDraft(`p${n}`)).then(({ header }) => process.stdout.write(`${header.seq}\n`));
  if (n % 8 === 0) await appended;
}

function openLog(open: ChildOptions): ChangeLog {
  const chunkStore = new DirectoryChunkStore({ folder: `${open.folder}/chunks`, clock: systemClock });
  if (open.kind === "embedded") return new SqliteLog({ folder: open.folder, chunkStore, clock: systemClock });
  return new KafkaLog({ connection: { brokers: open.brokers }, chunkStore, clock: systemClock });
}
