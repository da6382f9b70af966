import type { BenchRun, Found } from "./bench-run.ts";
import { measureDrain } from "./drain.ts";
import { catchUp, startReplica, stopReplica } from "./hosts.ts";
import { measureLatency } from "./latency.ts";
import { openProduct } from "./product.ts";
import { seedTables } from "./rows.ts";
import { emptySchema } from "./schema.ts";
import { type Streaming, TENANT } from "./streaming.ts";

/** What needs a lane that streams: the drain of a backlog, and the time from commit to visible. */
export async function measureStream(run: BenchRun): Promise<Found> {
  const { hosts, options, say } = run;
  await emptySchema(hosts.source);
  await seedTables({ address: hosts.source, rows: options.rows, tenants: 1, seed: options.seed });
  const replica = await hosts.replica();
  await startReplica(replica);
  const product = await openProduct(run, { name: "stream", tenants: 1 });
  try {
    const move = await product.begin(TENANT);
    await product.untilStreaming(move);
    await product.untilVerified(move);
    say("the lane streams; the replica catches up");
    await catchUp(replica, hosts.source);
    await stopReplica(replica);
    const streaming: Streaming = { run, product, move, replica };
    const drain = options.parts.has("drain") ? await measureDrain(streaming) : null;
    const latency = options.parts.has("latency") ? await measureLatency(streaming) : null;
    const { peakMegabytes } = product.usage();
    return {
      lines: [...(drain?.lines ?? []), ...(latency?.lines ?? [])],
      details: { drain: drain?.details, latency: latency?.details, peakMegabytes },
    };
  } finally {
    await product.close();
  }
}
