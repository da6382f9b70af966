import type { MarkPlace } from "../pipeline/capture-options.ts";

/** A drained mark, and what its lane's log says about it. */
export type Drained = {
  readonly place: MarkPlace;
  /** The newest entry with changes, in the writer epoch of `place`. */
  readonly lastChangeSeq: number;
};

/** A row that was written behind S1, though the tenant was fenced. */
export type Slipped = {
  readonly lane: string;
  readonly table: string;
  readonly key: string;
  /** The source's name of its transaction, its time there, and the session that wrote it where the source tells. */
  readonly transaction: string;
  readonly committedAtMs: number;
  readonly session: number | null;
};

/** What of a lane stands against a commit (V2); both empty: everything was compared, and nothing differs. */
export type Unverified = {
  /** Tables that are not, or not any more, known to have been compared from end to end. */
  readonly uncovered: readonly string[];
  /** Rows that differ, by table, key and kind. */
  readonly differing: readonly string[];
};

/** One lane as a cutover sees it. */
export interface AttemptLane {
  readonly lane: string;
  /** V2: compares rows as they change, until the signal ends; never rejects. */
  compareUntil(over: AbortSignal): Promise<void>;
  /** From here on nothing is compared but by `verify`, until `release`. */
  rest(): void;
  /** Commits a sentinel and resolves once the target has durably applied all before it. */
  drain(signal: AbortSignal): Promise<Drained>;
  /** The same, and nothing of the tenant is carried from that place on. */
  seal(signal: AbortSignal): Promise<Drained>;
  /** Behind that drained mark: rows that changed lately, or were known to differ, are read on both sides and compared. */
  verify(behind: Drained, signal: AbortSignal): Promise<Unverified>;
  /** The same as far as it is known by now, without reading anything. */
  unverified(): Unverified;
  /** Changes held behind the seal. */
  held(): number;
  /** What was written behind S1, by name. */
  slipped(): readonly Slipped[];
  /** Lifts the seal: what was held is carried after all. */
  release(): void;
  /** C5: the commit point is passed; the lane is closed in the target and only watched from here on. */
  close(signal: AbortSignal): Promise<void>;
}
