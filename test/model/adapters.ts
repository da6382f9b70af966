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
} from "../../cutover/adapters/adapter.ts";
import { mayWrite, newTenant, readingOf, type TenantRecord } from "../../cutover/adapters/reference-state.ts";
import { isDrayError } from "../../pipeline/errors.ts";
import type { Rules } from "./rules.ts";
import type { Process, Scheduler } from "./scheduler.ts";
import { otherSide, type SideName } from "./sides.ts";

/** What an adapter keeps, durably. */
export type AdapterRecord = { readonly name: string; tenant: TenantRecord };

/**
 * one: a single endpoint that fences and routes, as the reference server does. several: a fence at each side, and two
 * routers that may disagree for a while.
 */
export type Layout = "one" | "several";

export class AdapterRecords {
  readonly #layout: Layout;
  readonly #one: AdapterRecord;
  readonly #fences: Readonly<Record<SideName, AdapterRecord>>;
  readonly #routers: readonly [AdapterRecord, AdapterRecord];

  constructor(layout: Layout, home: SideName) {
    const record = (name: string): AdapterRecord => ({ name, tenant: newTenant(home) });
    this.#layout = layout;
    this.#one = record("endpoint");
    this.#fences = { from: record("fence-from"), to: record("fence-to") };
    this.#routers = [record("router-1"), record("router-2")];
  }

  fences(home: SideName): readonly AdapterRecord[] {
    return this.#layout === "one" ? [this.#one] : [this.#fences[home]];
  }

  /** Going to a side lifts what an earlier generation left fenced there. */
  routes(home: SideName): readonly AdapterRecord[] {
    return this.#layout === "one" ? [this.#one] : [this.#fences[otherSide(home)], ...this.#routers];
  }

  /** What the application is told: where this node's tenant lives, and whether it may write there. */
  ask(node: 0 | 1, nowMs: number): { readonly side: SideName; readonly mayWrite: "yes" | "no" } {
    const one = this.#layout === "one";
    const side = (one ? this.#one : this.#routers[node]).tenant.home as SideName;
    const fence = one ? this.#one : this.#fences[side];
    return { side, mayWrite: mayWrite(fence.tenant, nowMs) ? "yes" : "no" };
  }

  toString(): string {
    const records = this.#layout === "one" ? [this.#one] : [...Object.values(this.#fences), ...this.#routers];
    return records.map(({ name, tenant: t }) => `${name} ${t.state}(${t.generation})→${t.home}`).join(", ");
  }
}

export type AdapterOptions = {
  readonly scheduler: Scheduler;
  readonly process: Process;
  readonly record: AdapterRecord;
  readonly rules: Rules;
  readonly expiry: "self" | "supervised";
  /** Before the call is sent: the coordinator has decided. */
  readonly onSent: (action: AdapterAction, call: AdapterCall) => void;
};

/** An adapter as the coordinator sees it: an answer that does not come is read back, as every real one does (C4). */
export class SimulatedAdapter implements FenceAdapter, RouteAdapter {
  readonly name: string;
  readonly expiry: "self" | "supervised";
  readonly timeoutMs = 500;
  readonly enforcedByDatabase = false;
  readonly #options: AdapterOptions;

  constructor(options: AdapterOptions) {
    this.name = options.record.name;
    this.expiry = options.expiry;
    this.#options = options;
  }

  fence(call: FenceCall, signal: AbortSignal): Promise<AdapterOutcome> {
    const expiresInMs = call.expiresInMs ?? this.#options.rules.supervisedExpiryMs;
    return this.#act("fence", { ...call, expiresInMs }, signal);
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

  async read(_tenant: TenantRef, signal: AbortSignal): Promise<ReadOutcome> {
    const { scheduler, process, record } = this.#options;
    try {
      const reading = await scheduler.call(process, `${this.name} read`, () => this.#reading(record.tenant), signal);
      return { kind: "read", reading };
    } catch {
      return { kind: "unknown", reason: "no answer" };
    }
  }

  async #act(action: AdapterAction, call: AdapterCall | FenceCall, signal: AbortSignal): Promise<AdapterOutcome> {
    const { scheduler, process, onSent } = this.#options;
    if (signal.aborted) return { kind: "unknown", reading: null, reason: "the call was not sent: interrupted" };
    onSent(action, call);
    const label = `${this.name} ${action}(${call.generation})`;
    try {
      return await scheduler.call(process, label, () => this.#decide(action, call), signal);
    } catch (error) {
      if (!signal.aborted && !isDrayError(error)) throw error;
    }
    const reason = "no answer";
    const back = await this.read(call, signal);
    if (back.kind === "unknown") return { kind: "unknown", reading: null, reason };
    const { reading } = back;
    return proves(action, call.generation, reading)
      ? { kind: "done", reading, by: "read-back" }
      : { kind: "unknown", reading, reason };
  }

  #decide(action: AdapterAction, call: AdapterCall | FenceCall): AdapterOutcome {
    const { record, rules, scheduler } = this.#options;
    const { generation, to } = call;
    const expiresInMs = "expiresInMs" in call ? call.expiresInMs : null;
    const decision = rules.decide(record.tenant, { action, generation, to, expiresInMs }, scheduler.nowMs);
    if ("refused" in decision) {
      return { kind: "refused", reading: this.#reading(record.tenant), reason: decision.refused };
    }
    record.tenant = decision.next;
    return { kind: "done", reading: this.#reading(record.tenant), by: "answer" };
  }

  #reading(tenant: TenantRecord): AdapterReading {
    return readingOf(tenant, this.#options.scheduler.nowMs);
  }
}
