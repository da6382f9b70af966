import type {
  GenerationBook,
  GenerationKey,
  GenerationRecord,
  StatementValues,
} from "../../connectors/generation-book.ts";
import type { Clock } from "../../pipeline/clock.ts";
import { isDrayError } from "../../pipeline/errors.ts";
import type { Finding } from "../../pipeline/preflight.ts";
import type { CoveredTable } from "../../pipeline/source.ts";
import {
  type AdapterAction,
  type AdapterCall,
  type AdapterOutcome,
  type AdapterReading,
  type FenceAdapter,
  type FenceCall,
  proves,
  type ReadOutcome,
  type RouteAdapter,
  type TenantRef,
} from "./adapter.ts";
import { decide, type TenantRecord } from "./reference-state.ts";

export type SqlAdapterOptions = {
  readonly name: string;
  readonly timeoutMs: number;
  readonly enforcedByDatabase: boolean;
  /** With `:tenant`, `:move`, `:to` and `:generation`. A pin runs none: a supervised fence is permanent already (C3). */
  readonly statements: Readonly<Record<Exclude<AdapterAction, "pin">, readonly string[]>>;
  readonly book: GenerationBook;
  readonly clock: Clock;
};

/**
 * The application's own tables as fence and routing: statements and generation are one transaction, so that a late call
 * changes nothing (C4), and what stands is what was answered. A repeat runs no statement again.
 */
export class SqlAdapter implements FenceAdapter, RouteAdapter {
  readonly name: string;
  readonly expiry = "supervised";
  readonly timeoutMs: number;
  readonly enforcedByDatabase: boolean;
  readonly #options: SqlAdapterOptions;

  constructor(options: SqlAdapterOptions) {
    this.name = options.name;
    this.timeoutMs = options.timeoutMs;
    this.enforcedByDatabase = options.enforcedByDatabase;
    this.#options = options;
  }

  fence(call: FenceCall, signal: AbortSignal): Promise<AdapterOutcome> {
    return this.#act("fence", call, signal);
  }

  pin(call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome> {
    return this.#act("pin", call, signal);
  }

  unfence(call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome> {
    return this.#act("unfence", call, signal);
  }

  retire(call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome> {
    return this.#act("retire", call, signal);
  }

  route(call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome> {
    return this.#act("route", call, signal);
  }

  async read(tenant: TenantRef, signal: AbortSignal): Promise<ReadOutcome> {
    try {
      const record = await this.#inTime(signal, (inTime) => this.#options.book.read(this.#key(tenant), inTime));
      return { kind: "read", reading: readingOf(record) };
    } catch (error) {
      return { kind: "unknown", reason: reasonOf(error, signal) };
    }
  }

  /** Preflight: every statement is run and rolled back; FENCE_TOUCHES_DATA where one writes a table that moves (C4). */
  async dryRun(call: AdapterCall, covered: readonly CoveredTable[], signal: AbortSignal): Promise<readonly Finding[]> {
    const statements = [...new Set(Object.values(this.#options.statements).flat())];
    return this.#options.book.dryRun(this.name, statements, valuesOf(call), covered, signal);
  }

  close(): Promise<void> {
    return this.#options.book.close();
  }

  async #act(action: AdapterAction, call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome> {
    const first = await this.#once(action, call, signal);
    if (first.kind !== "unknown" || first.reading === null || signal.aborted) return first;
    // The session may have ended while it was idle. Calls carry their generation, so sending one again is harmless.
    return this.#once(action, call, signal);
  }

  async #once(action: AdapterAction, call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome> {
    let reason: string;
    try {
      const change = await this.#inTime(signal, (inTime) =>
        this.#options.book.change(
          this.#key(call),
          valuesOf(call),
          (record) => this.#decide(action, call, record),
          inTime,
        ),
      );
      const reading = readingOf(change.record);
      if (change.kind === "refused") return { kind: "refused", reading, reason: change.reason };
      return { kind: "done", reading, by: "answer" };
    } catch (error) {
      reason = reasonOf(error, signal);
    }
    const back = await this.read(call, signal);
    if (back.kind === "unknown") return { kind: "unknown", reading: null, reason };
    return proves(action, call.generation, back.reading)
      ? { kind: "done", reading: back.reading, by: "read-back" }
      : { kind: "unknown", reading: back.reading, reason };
  }

  #decide(action: AdapterAction, call: AdapterCall, record: GenerationRecord) {
    const tenant: TenantRecord = { ...record, home: record.home ?? "", expiresAtMs: null };
    // A supervised fence has no end, so no clock is asked.
    const decision = decide(tenant, { action, generation: call.generation, to: call.to, expiresInMs: null }, 0);
    if ("refused" in decision) return decision;
    const { generation, state, home, routedGeneration } = decision.next;
    const next: GenerationRecord = { generation, state, home: home === "" ? null : home, routedGeneration };
    const stands = record.generation === next.generation && record.state === next.state && record.home === next.home;
    return { next, statements: stands || action === "pin" ? null : this.#options.statements[action] };
  }

  #key({ move, tenant }: TenantRef): GenerationKey {
    return { adapter: this.name, move, tenant };
  }

  async #inTime<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const late = new AbortController();
    const done = new AbortController();
    const timer = this.#options.clock.sleep(this.timeoutMs, done.signal).then(
      () => late.abort(new Error(`no answer within ${this.timeoutMs} ms`)),
      () => {},
    );
    try {
      return await work(AbortSignal.any([signal, late.signal]));
    } catch (error) {
      throw late.signal.aborted ? late.signal.reason : error;
    } finally {
      done.abort(new Error("answered"));
      await timer;
    }
  }
}

function readingOf(record: GenerationRecord): AdapterReading {
  return { state: record.state, generation: record.generation, expiresAt: null };
}

function valuesOf({ tenant, move, to, generation }: AdapterCall): StatementValues {
  return { tenant, move, to, generation };
}

function reasonOf(error: unknown, signal: AbortSignal): string {
  if (signal.aborted) return "interrupted while waiting for the answer";
  if (isDrayError(error)) return error.message;
  return error instanceof Error ? error.message : String(error);
}
