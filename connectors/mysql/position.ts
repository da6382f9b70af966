import type { Position } from "../../pipeline/entry.ts";
import { type Gtid, GtidSet, gtidText, parseGtid } from "./gtid-set.ts";

/** A transaction that has been taken in part: its first `ordinal` rows events. */
export type Partial = {
  readonly gtid: Gtid;
  readonly ordinal: number;
  /** The server whose binlog they were counted in: another one may cut its rows events otherwise. */
  readonly serverUuid: string;
};

/** The newest mark that a lane has taken, by which a history that was lost and written anew is told (M6). */
export type MarkTaken = { readonly id: bigint; readonly nonce: string };

/**
 * M4: completed transactions, and how far into the one under way. As text: the set, `|gtid/ordinal@server` or `|`, and
 * `|id/nonce` of the mark or `|`.
 */
export type MysqlPosition = {
  readonly completed: GtidSet;
  readonly partial: Partial | null;
  readonly mark: MarkTaken | null;
};

export function formatPosition(position: MysqlPosition): Position {
  const { partial, mark } = position;
  const within = partial === null ? "" : `${gtidText(partial.gtid)}/${partial.ordinal}@${partial.serverUuid}`;
  return `${position.completed}|${within}|${mark === null ? "" : `${mark.id}/${mark.nonce}`}` as Position;
}

export function parsePosition(text: Position): MysqlPosition {
  const [set, within, mark, ...more] = text.split("|");
  if (set === undefined || within === undefined || mark === undefined || more.length > 0) {
    throw new Error(`not a MySQL position: ${text}`);
  }
  return { completed: GtidSet.parse(set), partial: parsePartial(within), mark: parseMark(mark) };
}

function parsePartial(text: string): Partial | null {
  if (text === "") return null;
  const [, gtid, ordinal, serverUuid] = /^(.+)\/(\d+)@(.+)$/.exec(text) ?? [];
  if (gtid === undefined || ordinal === undefined || serverUuid === undefined) {
    throw new Error(`not a MySQL position: ${text}`);
  }
  return { gtid: parseGtid(gtid), ordinal: Number(ordinal), serverUuid };
}

function parseMark(text: string): MarkTaken | null {
  if (text === "") return null;
  const [, id, nonce] = /^(\d+)\/([0-9a-f]{32})$/.exec(text) ?? [];
  if (id === undefined || nonce === undefined) throw new Error(`not a MySQL position: ${text}`);
  return { id: BigInt(id), nonce };
}
