import type { AdapterAction, AdapterReading, AdapterState } from "./adapter.ts";

/** What an adapter must remember of one tenant, durably. */
export type TenantRecord = {
  readonly home: string;
  /** The highest that changed anything; 0 before the first. */
  readonly generation: number;
  readonly state: AdapterState;
  /** Of this process's clock; a fence only. */
  readonly expiresAtMs: number | null;
  /** Of the last route: a retire of the same generation holds the old home, not the tenant at its new one. */
  readonly routedGeneration: number;
};

export type ReferenceCall = {
  readonly action: AdapterAction;
  readonly generation: number;
  readonly to: string;
  readonly expiresInMs: number | null;
};

export type Decision = { readonly next: TenantRecord } | { readonly refused: string };

export function newTenant(home: string): TenantRecord {
  return { home, generation: 0, state: "open", expiresAtMs: null, routedGeneration: 0 };
}

/** C4 as a pure function: what a call with a generation does to a tenant, or why it is refused. */
export function decide(tenant: TenantRecord, call: ReferenceCall, nowMs: number): Decision {
  const { action, generation } = call;
  if (generation < tenant.generation) return { refused: `generation ${tenant.generation} was here` };
  const again = generation === tenant.generation;
  const retired = tenant.state === "retired" && tenant.routedGeneration < tenant.generation;
  if (retired && action !== "route" && !(action === "retire" && again)) {
    return { refused: `generation ${tenant.generation} retired it; only a route lifts that` };
  }
  const set = (state: AdapterState, expiresAtMs: number | null): Decision => {
    return { next: { ...tenant, generation, state, expiresAtMs } };
  };
  const refused: Decision = { refused: `generation ${generation} is ${tenant.state} already` };
  const lapsed = hasLapsed(tenant, nowMs);
  switch (action) {
    case "fence":
      if (again && tenant.state === "pinned") return set("pinned", null);
      if (again && (tenant.state !== "fenced" || lapsed)) return refused;
      return set("fenced", call.expiresInMs === null ? null : nowMs + call.expiresInMs);
    case "pin":
      // A fence that ran out let writes through: it can never be confirmed again.
      if (!again || lapsed) return { refused: `generation ${generation} holds no fence` };
      return tenant.state === "fenced" || tenant.state === "pinned" ? set("pinned", null) : refused;
    case "unfence":
      // A higher generation's unfence is recorded even where its fence never came: it may still be on the way.
      return again && (tenant.state === "routed" || tenant.state === "retired") ? refused : set("open", null);
    case "retire":
      return again && tenant.state === "open" ? refused : set("retired", null);
    case "route": {
      if (again && tenant.routedGeneration === generation) {
        return tenant.home === call.to
          ? { next: tenant }
          : { refused: `generation ${generation} went to ${tenant.home}` };
      }
      if (again && tenant.state === "open") return refused;
      return { next: { home: call.to, generation, state: "routed", expiresAtMs: null, routedGeneration: generation } };
    }
  }
}

/** What the application asks before each transaction: may this tenant write at its home? */
export function mayWrite(tenant: TenantRecord, nowMs: number): boolean {
  switch (tenant.state) {
    case "open":
    case "routed":
      return true;
    case "pinned":
      return false;
    case "retired":
      return tenant.routedGeneration === tenant.generation;
    case "fenced":
      return hasLapsed(tenant, nowMs);
  }
}

/** A fence that ran out holds nobody and says so, but keeps showing when: it is not unfenced. */
export function readingOf(tenant: TenantRecord, nowMs: number): AdapterReading {
  return {
    generation: tenant.generation,
    state: hasLapsed(tenant, nowMs) ? "open" : tenant.state,
    expiresAt: tenant.expiresAtMs === null ? null : new Date(tenant.expiresAtMs).toISOString(),
  };
}

function hasLapsed(tenant: TenantRecord, nowMs: number): boolean {
  return tenant.state === "fenced" && tenant.expiresAtMs !== null && tenant.expiresAtMs <= nowMs;
}
