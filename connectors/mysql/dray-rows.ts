import type { LaneId, Mark, MarkKind } from "../../pipeline/entry.ts";
import type { BinlogEvent } from "./binlog-events.ts";
import { isComplete, type RowsHeader, type TableMap } from "./table-map.ts";

const LONGLONG = 8;
const VARCHAR = 15;
const STRING = 254;

/** Of dray.mark: id, scope, epoch, nonce, kind. */
const MARK_TYPES = [LONGLONG, VARCHAR, LONGLONG, STRING, VARCHAR];
/** Of dray.applied: id, lane, first_seq, last_seq, log_nonce. */
const APPLIED_TYPES = [LONGLONG, VARCHAR, LONGLONG, LONGLONG, STRING];

export type MarkRow = { readonly id: bigint; readonly mark: Mark };

const LANE = /^(.+)\.[^.]+\.[fr]\d+$/;

/** The move that a lane belongs to, by the lane's own name. */
export function moveOfLane(lane: string): string | null {
  return LANE.exec(lane)?.[1] ?? null;
}

/** The rows of an INSERT into dray.mark; throws where the table is not the one that Drayage makes. */
export function readMarkRows(event: BinlogEvent, header: RowsHeader, map: TableMap): readonly MarkRow[] {
  assertColumns(map, MARK_TYPES, event, header);
  const rows: MarkRow[] = [];
  const { bytes, end } = event;
  for (let at = header.rowsAt; at < end; ) {
    at += 1; // the null bitmap of five columns, none of them nullable
    const id = bytes.readBigUInt64LE(at);
    const scope = shortText(bytes, at + 8);
    const epoch = bytes.readBigUInt64LE(scope.next);
    // BINARY(16) comes without its trailing zeros.
    const nonce = shortText(bytes, scope.next + 8);
    const kind = shortText(bytes, nonce.next);
    at = kind.next;
    rows.push({
      id,
      mark: {
        scope: scope.text as LaneId | "server",
        epoch: Number(epoch),
        nonce: Buffer.from(nonce.text, "latin1").toString("hex").padEnd(32, "0"),
        kind: kind.text as MarkKind,
      },
    });
  }
  return rows;
}

/** The one move that an INSERT into dray.applied names; null where it names none or several (C7). */
export function readAppliedMove(event: BinlogEvent, header: RowsHeader, map: TableMap): string | null {
  assertColumns(map, APPLIED_TYPES, event, header);
  const { bytes, end } = event;
  let move: string | null = null;
  for (let at = header.rowsAt; at < end; ) {
    const nulls = bytes[at] ?? 0;
    const lane = shortText(bytes, at + 9);
    at = lane.next + (nulls & 4 ? 0 : 8) + (nulls & 8 ? 0 : 8);
    if (!(nulls & 16)) at = shortText(bytes, at).next;
    const named = moveOfLane(lane.text);
    if (named === null || (move !== null && move !== named)) return null;
    move = named;
  }
  return move;
}

/** A string of at most 255 bytes: its length in one byte, then itself. */
function shortText(bytes: Buffer, at: number): { readonly text: string; readonly next: number } {
  const next = at + 1 + (bytes[at] ?? 0);
  return { text: bytes.toString("latin1", at + 1, next), next };
}

function assertColumns(map: TableMap, types: readonly number[], { bytes }: BinlogEvent, header: RowsHeader): void {
  const same = map.columnCount === types.length && types.every((type, i) => map.types[i] === type);
  if (!same) throw new RangeError(`${map.schema}.${map.table} has other columns than Drayage gave it`);
  if (!isComplete(bytes, header)) throw new RangeError(`an incomplete row of ${map.schema}.${map.table}`);
}
