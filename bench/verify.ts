import type { BenchRun, Found } from "./bench-run.ts";
import { median } from "./figures.ts";
import { openProduct, type Product } from "./product.ts";
import { seedTables } from "./rows.ts";
import { allRows, emptySchema } from "./schema.ts";

const TENANT = 1;
/** Of the copy in the same process, on the same rows. */
const OF_COPY = 1.0;
const CORES = 1.2;

type Ours = { readonly rowsPerSecond: number; readonly copyRowsPerSecond: number; readonly cores: number };

/** One tenant's rows compared from end to end, once they are copied; `dray serve` beside two servers on this machine. */
export async function measureVerify(run: BenchRun): Promise<Found> {
  const { options, hosts, say } = run;
  await emptySchema(hosts.source);
  await seedTables({ address: hosts.source, rows: options.rows, tenants: 1, seed: options.seed });
  const product = await openProduct(run, { name: "verify", tenants: 1 });
  const ours: Ours[] = [];
  try {
    const move = await product.begin(TENANT);
    await product.untilStreaming(move);
    const copyRowsPerSecond = allRows(options.rows) / (await copySeconds(product, move));
    // The first pass has begun already; it is waited for, and not counted.
    await product.untilVerified(move);
    for (let round = 0; round < options.repeat; round++) {
      const before = product.usage();
      const beganMs = performance.now();
      await product.api.post(`/v1/moves/${move}/verify`, {});
      const compared = await product.untilVerified(move);
      const seconds = (performance.now() - beganMs) / 1000;
      const cores = (product.usage().cpuSeconds - before.cpuSeconds) / seconds;
      const rows = compared.lanes.reduce((sum, lane) => sum + lane.rowsVerified, 0);
      if (rows !== allRows(options.rows)) throw new Error(`${rows} rows were compared, not ${allRows(options.rows)}`);
      if (compared.differences.length > 0) throw new Error(`rows differ: ${JSON.stringify(compared.differences)}`);
      ours.push({ rowsPerSecond: rows / seconds, copyRowsPerSecond, cores });
      say(`verify: ${Math.round(rows / seconds).toLocaleString("en")} rows/s on ${cores.toFixed(2)} cores`);
    }
    const lines = [
      {
        name: "verify",
        ours: median(ours.map((one) => one.rowsPerSecond)),
        unit: "rows/s",
        beside: { name: "copy", value: copyRowsPerSecond },
        required: { atLeast: OF_COPY },
      },
      {
        name: "verify, cores of our processes",
        ours: median(ours.map((one) => one.cores)),
        unit: "cores",
        beside: null,
        required: { atMost: CORES },
      },
    ];
    return { lines, details: { verify: ours } };
  } finally {
    await product.close();
  }
}

async function copySeconds(product: Product, move: string): Promise<number> {
  const journal = await product.api.journal(move);
  const at = (event: string): number => journal.find((entry) => entry.event === event)?.atMs ?? Number.NaN;
  return (at("copied") - at("passed")) / 1000;
}
