import type { ResultSetHeader } from "mysql2/promise";
import type { ServerAddress } from "../demo/mysql.ts";
import { settings, tell } from "./child.ts";
import { insertSql, openLoad } from "./load.ts";
import { RowMaker } from "./rows.ts";
import { readOne } from "./schema.ts";

/** A marker row every 100 ms; the time from its INSERT's return until a reader sees it on the other side. */
export interface ProberSettings {
  readonly source: ServerAddress;
  readonly target: ServerAddress;
  readonly tenant: number;
  readonly seconds: number;
  readonly seed: number;
}

const MARKER_EVERY_MS = 100;
/** Between two looks of the reader; with a look itself that is below half a millisecond. */
const POLL_MS = 0.2;
const GIVE_UP_MS = 60_000;

const { source, target, tenant, seconds, seed } = settings<ProberSettings>();
const maker = new RowMaker({ seed });
const [writer, reader] = await Promise.all([openLoad(source), openLoad(target)]);
const pause = new Int32Array(new SharedArrayBuffer(4));
const delaysMs: number[] = [];
const looksMs: number[] = [];
const begin = performance.now();
for (let count = 0; count * MARKER_EVERY_MS < seconds * 1000; count++) {
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, begin + count * MARKER_EVERY_MS - performance.now())));
  const [inserted] = await writer.query<ResultSetHeader>(insertSql(maker, "orders", { tenant, id: null }));
  const returnedMs = performance.now();
  for (let lookedMs = returnedMs; ; ) {
    const found = await readOne(reader, `SELECT id FROM orders WHERE id = ${inserted.insertId}`);
    const nowMs = performance.now();
    looksMs.push(nowMs - lookedMs);
    lookedMs = nowMs;
    if (Object.keys(found).length > 0) break;
    if (nowMs - returnedMs > GIVE_UP_MS) throw new Error("a marker row did not arrive within a minute");
    // Timers of the event loop are too coarse for this.
    Atomics.wait(pause, 0, 0, POLL_MS);
  }
  delaysMs.push(performance.now() - returnedMs);
}
await tell({ type: "done", delaysMs, looksMs });
await Promise.all([writer.end(), reader.end()]);
process.disconnect?.();
