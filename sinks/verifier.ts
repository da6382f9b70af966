import { reasonOf } from "../pipeline/backoff.ts";
import type { Clock } from "../pipeline/clock.ts";
import type { EntryHeader, VerifyScope } from "../pipeline/entry.ts";
import { isDrayError } from "../pipeline/errors.ts";
import { keyText } from "../pipeline/key-text.ts";
import type { Probe } from "../pipeline/probe.ts";
import { compareRange, compareRows, type FoundRow } from "../pipeline/verify/compare.ts";
import type { VerifiedState } from "../pipeline/verify/verified-state.ts";
import { decodeKeysBody, decodeRangeBody } from "../pipeline/verify/verify-body.ts";
import { waitFor } from "../pipeline/wait.ts";
import type { ReadyEntry } from "./entry-feed.ts";
import type { EntryFollower, OpenedView } from "./follower.ts";

/** compared: what was found stands in the state. passed: nothing was compared, and the work is to be done again. */
export type VerifyOutcome = "compared" | "passed";

export type VerifierOptions = {
  readonly state: VerifiedState;
  readonly clock: Clock;
  readonly probe: Probe;
  /** The columns in which two rows of a table differ. */
  readonly columnsOf: (table: string, found: FoundRow) => readonly string[];
  /** The target has read single keys. */
  readonly onKeysRead: (keys: number, ms: number) => void;
  /** A comparison has ended: what is known has changed. */
  readonly onCompared: (entry: {
    readonly table: string;
    readonly rows: number;
    readonly reason: string | null;
  }) => void;
};

type Work = {
  readonly seq: number;
  readonly scope: VerifyScope;
  readonly body: Uint8Array;
};

/** One for a range, one for the next or for single keys: what is compared must not keep the stream from a session. */
const MOST_AT_ONCE = 2;
/** Whoever appended an entry asks for its outcome soon. */
const OUTCOMES_KEPT = 64;

/**
 * Compares a lane's target with what its verify entries say of the source (V1): in a read view at exactly the entry's
 * place, beside the stream, so that every difference is real.
 */
export class Verifier implements EntryFollower {
  readonly #options: VerifierOptions;
  readonly #outcomes = new Map<number, VerifyOutcome>();
  readonly #waiting = new Map<number, PromiseWithResolvers<VerifyOutcome>>();
  readonly #running = new Set<Promise<void>>();
  readonly #asked = new Map<number, number>();
  #life = new AbortController();
  #collecting = false;
  #collected = new Map<string, FoundRow[]>();

  constructor(options: VerifierOptions) {
    this.#options = options;
  }

  needsBody({ seq }: EntryHeader): boolean {
    return seq > (this.#options.state.anchor?.seq ?? 0);
  }

  take(entry: ReadyEntry): void {
    this.#options.state.take(entry);
  }

  wants({ seq, detail }: EntryHeader): boolean {
    if (detail.kind !== "verify" || this.#running.size >= MOST_AT_ONCE) return false;
    // As of before the view: a pass that is asked for later is not answered by it.
    this.#asked.set(seq, this.#options.state.table(detail.scope.table).asked);
    return true;
  }

  compare(entry: ReadyEntry, opening: Promise<OpenedView | null> | null): void {
    const { seq, detail } = entry.header;
    if (detail.kind !== "verify") return;
    if (opening === null || entry.verify === null) {
      opening?.then((opened) => opened?.view.close()).catch(() => {});
      this.#asked.delete(seq);
      this.#settle(seq, "passed");
      return;
    }
    const { scope } = detail;
    const running = this.#compare({ seq, scope, body: entry.verify }, opening);
    this.#running.add(running);
    void running.finally(() => this.#running.delete(running));
  }

  /** What became of the verify entry `seq`; waits for whichever applier meets it. */
  async outcome(seq: number, signal: AbortSignal): Promise<VerifyOutcome> {
    const known = this.#outcomes.get(seq);
    if (known !== undefined) return known;
    const waiting = this.#waiting.get(seq) ?? Promise.withResolvers<VerifyOutcome>();
    this.#waiting.set(seq, waiting);
    try {
      return await waitFor(waiting, signal);
    } finally {
      this.#waiting.delete(seq);
    }
  }

  /** From here on rows that differ are kept as they were compared, until the returned function is called. */
  collect(): () => void {
    const collected = new Map<string, FoundRow[]>();
    this.#collected = collected;
    this.#collecting = true;
    return () => {
      if (this.#collected === collected) this.#collecting = false;
    };
  }

  /** By table, of the last collecting. */
  get collected(): ReadonlyMap<string, readonly FoundRow[]> {
    return this.#collected;
  }

  /** The applier has ended: its sessions go. Waits for what is under way. */
  async stop(): Promise<void> {
    this.#life.abort(new Error("applying ended"));
    await Promise.all(this.#running);
    this.#life = new AbortController();
  }

  async #compare(work: Work, opening: Promise<OpenedView | null>): Promise<void> {
    const { seq, scope } = work;
    const { probe, onCompared } = this.#options;
    const { signal } = this.#life;
    let outcome: VerifyOutcome = "passed";
    let rows: number | null = 0;
    let reason: string | null = null;
    try {
      rows =
        scope.form === "range"
          ? await this.#compareRange({ ...work, scope }, opening, signal)
          : await this.#compareKeys(work, opening, signal);
      if (rows !== null) outcome = "compared";
    } catch (error) {
      reason = isDrayError(error) ? reasonOf(error) : `comparing failed: ${reasonOf(error)}`;
    }
    this.#asked.delete(seq);
    await opening.then((opened) => opened?.view.close()).catch(() => {});
    await probe("verify.after-compare", { seq });
    this.#settle(seq, outcome);
    onCompared({ table: scope.table, rows: rows ?? 0, reason });
  }

  /** The rows that were compared; null where there is no view to compare in. */
  async #compareRange(
    { seq, scope, body }: Work & { readonly scope: { readonly form: "range" } },
    opening: Promise<OpenedView | null>,
    signal: AbortSignal,
  ): Promise<number | null> {
    const table = this.#options.state.table(scope.table);
    const { leftOut, digestKey, digests } = decodeRangeBody(body);
    const asked = this.#asked.get(seq) ?? -1;
    const left = leftOut.map(keyText);
    // Before anything behind the entry is taken: what changes from here on is dirty.
    table.began(scope, seq, left);
    const opened = await opening;
    if (opened === null) return null;
    const target = await opened.view.digestRange(scope, digestKey, signal);
    // Those that were passed over become dirty by the very change that brings them.
    const out = new Set([...left, ...opened.passedOver]);
    const found = compareRange(digests, target, out);
    const digest = { source: digests.xor(out), target: target.xor(out) };
    function* keys() {
      for (const rows of [digests, target]) {
        for (let i = 0; i < rows.rows; i++) if (!out.has(rows.keyTextAt(i))) yield rows.keyTextAt(i);
      }
    }
    const nowMs = this.#options.clock.wallMs();
    table.comparedRange(scope, { seq, rows: digests.rows, digest, keys: keys(), found, asked, nowMs });
    return digests.rows;
  }

  async #compareKeys(
    { seq, scope, body }: Work,
    opening: Promise<OpenedView | null>,
    signal: AbortSignal,
  ): Promise<number | null> {
    const { state, columnsOf, clock, onKeysRead } = this.#options;
    const id = scope.table;
    const table = state.table(id);
    const { pass } = table;
    const opened = await opening;
    if (opened === null) return null;
    const { view, passedOver } = opened;
    const rows = decodeKeysBody(body).rows.filter(({ key }) => !passedOver.has(keyText(key)));
    const beganMs = clock.monotonicMs();
    const target = await view.readKeys(
      id,
      rows.map(({ key }) => key),
      signal,
    );
    onKeysRead(rows.length, clock.monotonicMs() - beganMs);
    const found = new Map(compareRows(rows, target).map((each) => [keyText(each.key), each]));
    // It is copied again by now: what this view showed is nothing that the new pass began with.
    if (table.pass !== pass) return null;
    if (this.#collecting) this.#collected.set(id, [...(this.#collected.get(id) ?? []), ...found.values()]);
    for (const { key } of rows) {
      const one = found.get(keyText(key));
      const foundAtMs = clock.wallMs();
      const difference = one && { kind: one.kind, columns: columnsOf(id, one), foundAtMs };
      table.comparedKey(key, seq, difference ?? null);
    }
    return rows.length;
  }

  #settle(seq: number, outcome: VerifyOutcome): void {
    this.#outcomes.set(seq, outcome);
    for (const old of this.#outcomes.keys()) {
      if (this.#outcomes.size <= OUTCOMES_KEPT) break;
      this.#outcomes.delete(old);
    }
    this.#waiting.get(seq)?.resolve(outcome);
  }
}
