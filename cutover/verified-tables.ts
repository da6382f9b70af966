import type { VerifiedTable } from "../pipeline/verify/verified-table.ts";
import type { OpenLane } from "./move-lanes.ts";

/** What is known of one table's rows on both sides, and at which places of its lane's log that holds. */
export type ComparedTable = {
  readonly lane: string;
  readonly table: string;
  /** Every range was compared since the table was copied. */
  readonly covered: boolean;
  readonly rowsCopied: number;
  readonly rowsCompared: number;
  readonly ranges: number;
  /** The places at which the first and the last of the ranges were compared; null where none was. */
  readonly fromSeq: number | null;
  readonly toSeq: number | null;
  /** Of all ranges in one, by side; null where one of them has none now. */
  readonly digests: { readonly source: string; readonly target: string } | null;
  readonly dirtyKeys: number;
  readonly differences: number;
  /** More rows differ than are kept by name, and `differences` counts. */
  readonly moreDiffer: boolean;
};

/** Of lanes that have been compared, or can be. */
export function comparedTables(lanes: readonly OpenLane[]): readonly ComparedTable[] {
  return lanes.flatMap(({ source, runtime }) => {
    const { coverage } = runtime.state();
    const copied = new Map(coverage?.tables.map(({ table, rows }) => [table, rows]));
    return runtime.verification.state.tables.map((table) =>
      comparedTable(source.lane, table, copied.get(table.id) ?? 0),
    );
  });
}

function comparedTable(lane: string, table: VerifiedTable, rowsCopied: number): ComparedTable {
  const seqs = table.ranges.flatMap(({ seq }) => (seq === null ? [] : [seq]));
  const digests = table.ranges.map(({ digest }) => digest);
  const isWhole = digests.every((digest) => digest !== null);
  return {
    lane,
    table: table.id,
    covered: table.isCovered,
    rowsCopied,
    rowsCompared: table.ranges.reduce((sum, { seq, rows }) => sum + (seq === null ? 0 : rows), 0),
    ranges: table.ranges.length,
    fromSeq: seqs.length === 0 ? null : seqs.reduce((least, seq) => Math.min(least, seq)),
    toSeq: seqs.length === 0 ? null : seqs.reduce((most, seq) => Math.max(most, seq)),
    digests: isWhole
      ? { source: inOne(digests.map(({ source }) => source)), target: inOne(digests.map(({ target }) => target)) }
      : null,
    dirtyKeys: table.dirtyKeys,
    differences: table.differences.length,
    moreDiffer: table.overflows,
  };
}

/** Each range has a key of its own, so that two of them cannot cancel each other out. */
function inOne(digests: readonly string[]): string {
  const all = digests.reduce((sum, digest) => sum ^ BigInt(`0x${digest}`), 0n);
  return all.toString(16).padStart(32, "0");
}
