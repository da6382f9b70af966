import type { SchemaFence } from "../../connectors/source-control.ts";
import { reasonOf } from "../../pipeline/backoff.ts";
import type { AdapterCall, AdapterOutcome, AdapterReading, FenceAdapter, ReadOutcome, TenantRef } from "./adapter.ts";

/**
 * C3: a schema that is this tenant's alone, fenced by its database. The database knows no generations: `dray.cutover`
 * tells them apart, as only a coordinator that owns the attempt calls this. It is held until ABORTED, so it needs no pin.
 */
export class SchemaFenceAdapter implements FenceAdapter {
  readonly name: string;
  readonly expiry = "supervised";
  readonly timeoutMs = 5_000;
  readonly enforcedByDatabase = true;
  readonly #fence: SchemaFence;
  #generation = 0;

  constructor(options: { readonly name: string; readonly fence: SchemaFence }) {
    this.name = options.name;
    this.#fence = options.fence;
  }

  fence(call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome> {
    return this.#do(call, () => this.#fence.fence(signal), signal);
  }

  pin(call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome> {
    return this.#do(call, async () => {}, signal);
  }

  unfence(call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome> {
    return this.#do(call, () => this.#fence.unfence(signal), signal);
  }

  /** The schema stays read only: that is what retired means here. */
  retire(call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome> {
    return this.#do(call, () => this.#fence.fence(signal), signal);
  }

  async read(_tenant: TenantRef, signal: AbortSignal): Promise<ReadOutcome> {
    try {
      return { kind: "read", reading: await this.#reading(signal) };
    } catch (error) {
      signal.throwIfAborted();
      return { kind: "unknown", reason: reasonOf(error) };
    }
  }

  async #do(call: AdapterCall, work: () => Promise<void>, signal: AbortSignal): Promise<AdapterOutcome> {
    try {
      await work();
      this.#generation = call.generation;
      return { kind: "done", reading: await this.#reading(signal), by: "answer" };
    } catch (error) {
      return { kind: "unknown", reading: null, reason: reasonOf(error) };
    }
  }

  async #reading(signal: AbortSignal): Promise<AdapterReading> {
    const state = (await this.#fence.isFenced(signal)) ? "pinned" : "open";
    return { state, generation: this.#generation, expiresAt: null };
  }
}
