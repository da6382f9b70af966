import type { EntryHeader } from "../pipeline/entry.ts";
import type { ReadyEntry } from "./entry-feed.ts";
import type { ReadView } from "./sink.ts";

/** What stands in the target of an entry's scope exactly at that entry's place. */
export type OpenedView = {
  readonly view: ReadView;
  /** Keys of the table that the target does not have as the source does, because the log brings them again (A8). */
  readonly passedOver: ReadonlySet<string>;
};

/** Whoever follows a lane's entries as they are taken, and compares the target with them (V1, V2). */
export interface EntryFollower {
  /** It must see the changes of this entry, also where the target has them already. */
  needsBody(header: EntryHeader): boolean;
  /** Every entry once and in order, before it is applied. `changes` may be empty where the body is not needed. */
  take(entry: ReadyEntry): void;
  /** Whether it will compare at this verify entry: then a read view is opened exactly there. */
  wants(header: EntryHeader): boolean;
  /**
   * For each verify entry, behind `take`. Returns at once, and closes the view when it has compared; later entries are
   * applied meanwhile. Null, or null in the end: there is no view, so that nothing is compared; as where it rejects.
   */
  compare(entry: ReadyEntry, opening: Promise<OpenedView | null> | null): void;
}
