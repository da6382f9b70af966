import type { Clock } from "../../pipeline/clock.ts";
import type { KeyBytes } from "../../pipeline/entry.ts";
import { keyText } from "../../pipeline/key-text.ts";
import type { LaneSource, StreamSource } from "../../pipeline/source.ts";
import { compareRows, type DifferenceKind, type FoundRow } from "../../pipeline/verify/compare.ts";
import type { KeyPace, Side } from "../../pipeline/verify/key-pace.ts";
import type { VerifiedState } from "../../pipeline/verify/verified-state.ts";
import type { VerifiedTable } from "../../pipeline/verify/verified-table.ts";
import type { LaneSink, ReadView } from "../../sinks/sink.ts";

/** A row that differs, with the columns where it stands on both sides. */
export type OpenDifference = {
  readonly table: string;
  readonly key: KeyBytes;
  readonly kind: DifferenceKind;
  readonly columns: readonly string[];
};

export type FencedComparisonOptions = {
  readonly source: LaneSource;
  readonly stream: StreamSource;
  readonly state: VerifiedState;
  readonly columnsOf: (table: string, found: FoundRow) => readonly string[];
  readonly clock: Clock;
  readonly pace: KeyPace;
};

/** Read on both sides at once by one statement each. */
const KEYS_AT_ONCE = 2_000;

/**
 * V2: every key whose equality is not known is read on both sides, behind a mark that the target has applied and while
 * the tenant is fenced: then nothing changes, and what is found is real if the proof holds that nothing did. `seq` is the
 * mark's. What is known of rows that were not read is the caller's to ask: `unknownTables`, `openDifferences`.
 */
export async function compareOpenKeys(
  { source, stream, state, columnsOf, clock, pace }: FencedComparisonOptions,
  sink: LaneSink,
  seq: number,
  signal: AbortSignal,
): Promise<readonly OpenDifference[]> {
  const open = state.tables.map((table) => ({ table, keys: table.openKeys() })).filter(({ keys }) => keys.length > 0);
  if (open.length === 0) return [];
  const differences: OpenDifference[] = [];
  const view = await sink.openReadView(signal);
  try {
    for (const { table, keys } of open) {
      for (const some of slices(keys, KEYS_AT_ONCE)) {
        const found = await compare(table, some, view);
        differences.push(...found.map((each) => ({ ...each, table: table.id, columns: columnsOf(table.id, each) })));
      }
    }
  } finally {
    await view.close();
  }
  return differences;

  async function compare(
    table: VerifiedTable,
    keys: readonly KeyBytes[],
    view: ReadView,
  ): Promise<readonly FoundRow[]> {
    const [rows, atTarget] = await Promise.all([
      timed("source", keys.length, () => stream.readKeys(source, table.id, keys, signal)),
      timed("target", keys.length, () => view.readKeys(table.id, keys, signal)),
    ]);
    const atSource = new Map(rows.single().map(({ key, row }) => [keyText(key), row]));
    const asked = keys.map((key) => ({ key, row: atSource.get(keyText(key)) ?? null }));
    const found = compareRows(asked, atTarget);
    const differing = new Set(found.map(({ key }) => keyText(key)));
    // What differs stays as it was: a write that slipped in may be why, and the proof is still to come.
    for (const key of keys) if (!differing.has(keyText(key))) table.comparedKey(key, seq, null);
    return found;
  }

  async function timed<T>(side: Side, keys: number, read: () => Promise<T>): Promise<T> {
    const beganMs = clock.monotonicMs();
    const rows = await read();
    pace.took(side, keys, clock.monotonicMs() - beganMs);
    return rows;
  }
}

/** Tables that are not known to have been compared from end to end: of their rows dirty keys say nothing. */
export function uncoveredTables(state: VerifiedState): readonly string[] {
  return state.tables.filter(({ isCovered }) => !isCovered).map(({ id }) => id);
}

/** Tables of which rows may differ though none is known to by name: not compared, or more than are kept by name. */
export function unknownTables(state: VerifiedState): readonly string[] {
  return state.tables.filter(({ isCovered, overflows }) => !isCovered || overflows).map(({ id }) => id);
}

export function openDifferences(state: VerifiedState): readonly OpenDifference[] {
  return state.tables.flatMap(({ id, differences }) =>
    differences.map(({ key, kind, columns }) => ({ table: id, key, kind, columns: columns ?? [] })),
  );
}

function slices<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}
