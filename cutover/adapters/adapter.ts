/**
 * The application's side of a cutover: what stops a tenant's writes at the source and what sends it to its new home.
 * Every call carries the generation (C4): a lower one is refused, and unfence is final for its generation. A repeat with
 * the same generation answers as the first did. Nothing here throws for what the far side did or did not answer: the
 * outcome is a value, and `unknown` is one of them.
 */
export type AdapterAction = "fence" | "pin" | "unfence" | "retire" | "route";

/** What holds for the tenant there now. A self-expiring fence that ran out reads as `open`. */
export type AdapterState = "open" | "fenced" | "pinned" | "retired" | "routed";

export type AdapterReading = {
  readonly state: AdapterState;
  /** The highest generation that changed anything there; 0 before the first. */
  readonly generation: number;
  /** By the fence store's own clock, for people; never compared with ours (C3). Null: it does not run out. */
  readonly expiresAt: string | null;
};

export type TenantRef = { readonly move: string; readonly tenant: string };

export type AdapterCall = TenantRef & {
  readonly generation: number;
  /** The cluster's name in the server configuration; the tenant's home after a route, before one where it stays. */
  readonly to: string;
};

export type FenceCall = AdapterCall & {
  /** For `expiry: self`: how long the fence holds unless pinned. Null for a supervised one. */
  readonly expiresInMs: number | null;
};

export type AdapterOutcome =
  /** It holds there, as answered or as read back after an unknown answer. */
  | { readonly kind: "done"; readonly reading: AdapterReading; readonly by: "answer" | "read-back" }
  /** The far side knows of a higher or a finished generation and did nothing. */
  | { readonly kind: "refused"; readonly reading: AdapterReading | null; readonly reason: string }
  /** It may have happened, may not, or may still happen. `reading` is what was read back, null where even that failed. */
  | { readonly kind: "unknown"; readonly reading: AdapterReading | null; readonly reason: string };

export type ReadOutcome =
  | { readonly kind: "read"; readonly reading: AdapterReading }
  | { readonly kind: "unknown"; readonly reason: string };

/** C3. Calls may be repeated with the same generation; a call that was aborted by its signal is of unknown outcome. */
export interface FenceAdapter {
  readonly name: string;
  /** self: the far side lifts a fence that ran out by itself. supervised: only our unfence does. */
  readonly expiry: "self" | "supervised";
  /** The longest one call waits for its answer; C11 counts with it. */
  readonly timeoutMs: number;
  /** The database itself refuses the write, so that no application acts on a stale flag: no grace is needed. */
  readonly enforcedByDatabase: boolean;
  fence(call: FenceCall, signal: AbortSignal): Promise<AdapterOutcome>;
  /** Atomically confirms that this generation's fence was never lifted, and makes it permanent. */
  pin(call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome>;
  /** Final: fence, pin, retire and route of this generation that arrive later are refused there (C4). */
  unfence(call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome>;
  /** Final until a route of a later COMMITTED generation brings the tenant back. */
  retire(call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome>;
  read(tenant: TenantRef, signal: AbortSignal): Promise<ReadOutcome>;
}

export interface RouteAdapter {
  readonly name: string;
  readonly timeoutMs: number;
  /** Also lifts a fence of a lower generation at the destination. */
  route(call: AdapterCall, signal: AbortSignal): Promise<AdapterOutcome>;
  read(tenant: TenantRef, signal: AbortSignal): Promise<ReadOutcome>;
}

/**
 * Whether what was read proves that this action of this generation took effect. A fence that ran out reads as open too,
 * but still shows when: it is not yet final, so it proves no unfence.
 */
export function proves(action: AdapterAction, generation: number, reading: AdapterReading): boolean {
  if (reading.generation !== generation) return false;
  switch (action) {
    case "fence":
      return reading.state === "fenced" || reading.state === "pinned";
    case "pin":
      return reading.state === "pinned";
    case "unfence":
      return reading.state === "open" && reading.expiresAt === null;
    case "retire":
      return reading.state === "retired";
    case "route":
      // retire(g) is sent only when every route(g) has been answered: a coordinator that comes back repeats both.
      return reading.state === "routed" || reading.state === "retired";
  }
}
