import { keyText } from "../pipeline/key-text.ts";
import type { Probe } from "../pipeline/probe.ts";
import { decodeKeysBody } from "../pipeline/verify/verify-body.ts";
import type { ReadyEntry } from "./entry-feed.ts";
import type { OpenedView } from "./follower.ts";
import type { Footprint, InFlight } from "./in-flight.ts";
import type { PassedOver } from "./passed-over.ts";
import type { ReadView } from "./sink.ts";

export type ViewOpeningOptions = {
  readonly inFlight: InFlight;
  readonly passedOver: PassedOver;
  readonly probe: Probe;
  /** Tried again where the error is transient. */
  readonly open: (seq: number, signal: AbortSignal) => Promise<ReadView>;
  /** A unit that gave way has emptied the table ahead of the pass that will bring its rows (A8). */
  readonly isEmptied: (table: string) => boolean;
  /** Whatever waited for the view may go on; with what never lets one open. */
  readonly onEnd: (failure: unknown) => void;
};

/**
 * V1: read views at exactly the place of a verify entry, for what it compares. Later entries go on meanwhile, up to the
 * first that would write it.
 */
export class ViewOpening {
  readonly #options: ViewOpeningOptions;

  constructor(options: ViewOpeningOptions) {
    this.#options = options;
  }

  /** Called when the entry is taken. Null: what stands in the target tells nothing. Rejects with the signal's reason. */
  async open(entry: ReadyEntry, signal: AbortSignal): Promise<OpenedView | null> {
    const { inFlight, passedOver, probe, open, isEmptied, onEnd } = this.#options;
    const { seq, coverage } = entry.header;
    const compared = comparedOf(entry);
    if (compared === null) return null;
    const { table, footprint } = compared;
    let failure: unknown = null;
    try {
      await inFlight.addRead(footprint, signal);
      const view = await open(seq, signal);
      await probe("verify.after-view", { seq });
      if (!isEmptied(table)) return { view, passedOver: passedOver.of(table, coverage) };
      await view.close().catch(() => {});
      return null;
    } catch (error) {
      if (!signal.aborted) failure = error;
      throw error;
    } finally {
      inFlight.remove(footprint);
      onEnd(failure);
    }
  }
}

/** Null where the entry's body is lost. */
function comparedOf(entry: ReadyEntry): { readonly table: string; readonly footprint: Footprint } | null {
  const { detail } = entry.header;
  if (detail.kind !== "verify" || entry.verify === null) return null;
  const { scope } = detail;
  const { table } = scope;
  if (scope.form === "range") {
    const { after, upTo } = scope;
    return { table, footprint: { keys: new Map(), range: { table, after, upTo, pass: null } } };
  }
  const keys = new Set(decodeKeysBody(entry.verify).rows.map(({ key }) => keyText(key)));
  return { table, footprint: { keys: new Map([[table, keys]]), range: null } };
}
