/**
 * What the router knows of one tenant, and what a call with a generation does to it: a pure function, so that the
 * table of actions and generations can be tested cell by cell (C4).
 *
 * - A generation lower than the recorded one is refused, whatever the action.
 * - unfence(g) is final: fence(g), pin(g), retire(g) and route(g) that come later are refused, also where the fence
 *   itself never arrived. So is a fence that lapsed: writes may have slipped in, so it can be neither renewed nor pinned.
 * - route(g) sends the tenant to its new home and lets it write there; a late fence(g), pin(g) or unfence(g) is refused.
 * - retire(g) is a fence that nothing but a route lifts.
 */
export type Action = "fence" | "pin" | "unfence" | "retire" | "route";
export const ACTIONS: readonly Action[] = ["fence", "pin", "unfence", "retire", "route"];
export type FenceState = "open" | "fenced" | "pinned" | "retired" | "routed";

export interface TenantState {
  readonly home: string;
  /** Highest generation that changed anything; 0 before the first. */
  readonly generation: number;
  readonly state: FenceState;
  /** Wall milliseconds of this process's clock; only a fence may have one. */
  readonly expiresAt: number | null;
  /** Of the last route; a retire of the same generation does not take its home away again. */
  readonly routedGeneration: number;
}

export interface Call {
  readonly action: Action;
  readonly generation: number;
  readonly to: string | null;
  /** null: a fence without an expiry, which only its caller releases. */
  readonly expiresInMs: number | null;
}

export type Outcome =
  | { readonly accepted: true; readonly next: TenantState }
  | { readonly accepted: false; readonly reason: string };

export function newTenant(home: string): TenantState {
  return { home, generation: 0, state: "open", expiresAt: null, routedGeneration: 0 };
}

/** May the application write, and where? Only the home matters to it, not who moves what. */
export function isFenced(tenant: TenantState, nowMs: number): boolean {
  if (tenant.state === "pinned") return true;
  if (tenant.state === "retired") return tenant.routedGeneration < tenant.generation;
  return tenant.state === "fenced" && !isLapsed(tenant, nowMs);
}

function isLapsed(tenant: TenantState, nowMs: number): boolean {
  return tenant.state === "fenced" && tenant.expiresAt !== null && tenant.expiresAt <= nowMs;
}

export function decide(tenant: TenantState, call: Call, nowMs: number): Outcome {
  const { generation } = call;
  if (generation < tenant.generation) return no(`generation ${tenant.generation} was here`);
  const isNew = generation > tenant.generation;
  // Past its route a retired tenant is an ordinary one at its new home.
  const isHeldForGood = tenant.state === "retired" && tenant.routedGeneration < tenant.generation;
  if (isHeldForGood && call.action !== "retire" && call.action !== "route") {
    return no(`retired by generation ${tenant.generation}; only a route lifts that`);
  }
  if (!isNew && tenant.state === "open" && call.action !== "unfence") return no(`generation ${generation} is finished`);
  switch (call.action) {
    case "fence": {
      const expiresAt = call.expiresInMs === null ? null : nowMs + call.expiresInMs;
      if (isNew) return yes(tenant, { generation, state: "fenced", expiresAt });
      if (tenant.state === "pinned") return yes(tenant, {}); // a repeat never weakens a pin
      if (tenant.state !== "fenced") return no(`generation ${generation} is already ${tenant.state}`);
      return isLapsed(tenant, nowMs) ? no("the fence has lapsed") : yes(tenant, { expiresAt });
    }
    case "pin":
      if (isNew) return no("no fence of this generation is held");
      if (tenant.state === "pinned") return yes(tenant, {});
      if (tenant.state !== "fenced") return no(`generation ${generation} is already ${tenant.state}`);
      return isLapsed(tenant, nowMs) ? no("the fence has lapsed") : yes(tenant, { state: "pinned", expiresAt: null });
    case "unfence":
      if (!isNew && tenant.state !== "open" && tenant.state !== "fenced" && tenant.state !== "pinned") {
        return no(`generation ${generation} is already ${tenant.state}`);
      }
      return yes(tenant, { generation, state: "open", expiresAt: null });
    case "retire":
      return yes(tenant, { generation, state: "retired", expiresAt: null });
    case "route":
      if (call.to === null) return no("a route needs `to`");
      if (tenant.routedGeneration === generation) {
        return tenant.home === call.to ? yes(tenant, {}) : no(`generation ${generation} went to ${tenant.home}`);
      }
      return yes(tenant, {
        generation,
        home: call.to,
        routedGeneration: generation,
        state: "routed",
        expiresAt: null,
      });
  }
}

function yes(tenant: TenantState, change: Partial<TenantState>): Outcome {
  return { accepted: true, next: { ...tenant, ...change } };
}

function no(reason: string): Outcome {
  return { accepted: false, reason };
}
