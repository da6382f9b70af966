import { type BenchRun, type Found, REQUIRED } from "./bench-run.ts";
import { startChild } from "./child.ts";
import { compareSides } from "./compare.ts";
import { dumpAndLoad } from "./dump.ts";
import { median } from "./figures.ts";
import type { LimitDone, LimitSettings } from "./limit.ts";
import type { Usage } from "./process-usage.ts";
import { openProduct } from "./product.ts";
import { seedTables } from "./rows.ts";
import { allRows, emptySchema, ID_STEP } from "./schema.ts";

const TENANT = 1;
const STREAMS = [2, 4];
const CHUNK_ROWS = [5_000, 20_000];
/** A limit that is hardly faster than mysqldump is a weak one, and being near it says nothing. */
const LIMIT_OF_DUMP = 1.2;

type Ours = { readonly rowsPerSecond: number; readonly cpuSecondsPerMillion: number; readonly peakMegabytes: number };

type Limit = Pick<Ours, "rowsPerSecond" | "cpuSecondsPerMillion">;

/** One tenant's rows into empty tables: ours, the limit in TypeScript in four settings, and mysqldump, in turns. */
export async function measureCopy(run: BenchRun): Promise<Found> {
  const { options, hosts, say } = run;
  await emptySchema(hosts.source);
  await seedTables({ address: hosts.source, rows: options.rows, tenants: 1, seed: options.seed });
  const ours: Ours[] = [];
  const dumps: number[] = [];
  const limits = new Map<string, Limit[]>();
  for (let round = 0; round < options.repeat; round++) {
    const one = await copyOurs(run, round);
    say(`copy: dray ${rate(one.rowsPerSecond)}, ${one.cpuSecondsPerMillion.toFixed(2)} CPU s a million rows`);
    ours.push(one);
    for (const streams of STREAMS) {
      for (const chunkRows of CHUNK_ROWS) {
        const name = `${streams} + ${streams}, ${chunkRows.toLocaleString("en")} rows`;
        const one = await copyLimit(run, { streams, chunkRows });
        say(`copy: limit ${name}: ${rate(one.rowsPerSecond)}, ${one.cpuSecondsPerMillion.toFixed(2)} CPU s`);
        limits.set(name, [...(limits.get(name) ?? []), one]);
      }
    }
    const dumped = await copyDump(run);
    say(`copy: mysqldump | mysql ${rate(dumped)}`);
    dumps.push(dumped);
  }
  return found(run, ours, limits, median(dumps));
}

function found(run: BenchRun, ours: readonly Ours[], limits: ReadonlyMap<string, Limit[]>, dump: number): Found {
  const required = REQUIRED[run.options.log];
  const medians = [...limits].map(([name, values]) => ({
    name,
    value: median(values.map((one) => one.rowsPerSecond)),
  }));
  const limit = medians.toSorted((a, b) => b.value - a.value)[0];
  if (limit === undefined) throw new Error("the limit was not measured");
  const rowsPerSecond = median(ours.map((one) => one.rowsPerSecond));
  const lines = [
    {
      name: "limit in TypeScript",
      ours: limit.value,
      unit: "rows/s",
      beside: { name: "mysqldump \\| mysql", value: dump },
      required: { atLeast: LIMIT_OF_DUMP },
    },
    {
      name: "copy",
      ours: rowsPerSecond,
      unit: "rows/s",
      beside: { name: `limit (${limit.name})`, value: limit.value },
      required: { atLeast: required.copyOfLimit },
    },
    {
      name: "copy",
      ours: rowsPerSecond,
      unit: "rows/s",
      beside: { name: "mysqldump \\| mysql", value: dump },
      required: required.copyOfDump === null ? null : { atLeast: required.copyOfDump },
    },
    {
      name: "copy, CPU of our processes a million rows",
      ours: median(ours.map((one) => one.cpuSecondsPerMillion)),
      unit: "s",
      beside: null,
      required: { atMost: required.cpuSecondsPerMillion },
    },
    {
      name: "copy, peak memory of our processes",
      ours: Math.max(...ours.map((one) => one.peakMegabytes)),
      unit: "MB",
      beside: null,
      required: { atMost: required.peakMegabytes },
    },
  ];
  return { lines, details: { ours, limits: Object.fromEntries(limits), mysqldump: dump } };
}

async function copyOurs(run: BenchRun, round: number): Promise<Ours> {
  const { hosts, options } = run;
  const product = await openProduct(run, { name: `copy-${round}`, tenants: 1 });
  try {
    const before = product.usage();
    const move = await product.begin(TENANT);
    await product.untilStreaming(move);
    const { cpuSeconds, peakMegabytes }: Usage = product.usage();
    const journal = await product.api.journal(move);
    const at = (event: string): number => {
      const entry = journal.find((candidate) => candidate.event === event);
      if (entry === undefined) throw new Error(`${move}: no ${event} in the journal`);
      return entry.atMs;
    };
    // "passed": preflight is over and the lane opens with its start mark; "copied": the last chunk is durably applied.
    const seconds = (at("copied") - at("passed")) / 1000;
    const rows = await compareSides({ what: "copy by dray", ...hosts, tenant: null });
    if (rows !== allRows(options.rows)) throw new Error(`${rows} rows were compared, not ${allRows(options.rows)}`);
    const cpuSecondsPerMillion = ((cpuSeconds - before.cpuSeconds) * 1e6) / rows;
    return { rowsPerSecond: rows / seconds, cpuSecondsPerMillion, peakMegabytes };
  } finally {
    await product.close();
  }
}

async function copyLimit(run: BenchRun, how: { streams: number; chunkRows: number }): Promise<Limit> {
  const { hosts, options } = run;
  await emptySchema(hosts.target);
  const { source, target } = hosts;
  const settings: LimitSettings = { source, target, tenant: TENANT, ...how, idStep: ID_STEP };
  const { seconds, cpuSeconds } = await startChild("./limit.ts", settings).message<LimitDone>("done");
  const rows = await compareSides({ what: "copy by the limit", source, target, tenant: null });
  if (rows !== allRows(options.rows)) throw new Error(`the limit copied ${rows} rows`);
  return { rowsPerSecond: rows / seconds, cpuSecondsPerMillion: (cpuSeconds * 1e6) / rows };
}

async function copyDump(run: BenchRun): Promise<number> {
  const { hosts, servers, options } = run;
  await emptySchema(hosts.target);
  const seconds = await dumpAndLoad({ servers, source: hosts.source, target: hosts.target });
  await compareSides({ what: "copy by mysqldump", ...hosts, tenant: null });
  return allRows(options.rows) / seconds;
}

const rate = (rowsPerSecond: number): string => `${Math.round(rowsPerSecond).toLocaleString("en")} rows/s`;
