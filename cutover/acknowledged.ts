import type { Outcomes } from "./commit-point.ts";
import type { JsonObject } from "./control-store.ts";

/** C6: what a store's target had acknowledged when its move was committed, and which server that was. */
export type AcknowledgedTarget = {
  readonly store: string;
  readonly serverUuid: string;
  /** Opaque; null: the target gave its transactions no names. */
  readonly set: string | null;
};

/** As COMMITTED of that generation keeps it on either side, for a process that did not write it; empty where it says nothing. */
export function acknowledgedIn(rows: Outcomes, generation: number): readonly AcknowledgedTarget[] {
  const { home, target } = rows.get(generation) ?? {};
  for (const row of [home, target]) {
    if (row?.outcome === "COMMITTED" && Array.isArray(row.facts["targets"])) return row.facts["targets"].filter(isOne);
  }
  return [];
}

function isOne(value: unknown): value is AcknowledgedTarget {
  const { store, serverUuid, set } = (value ?? {}) as JsonObject;
  return typeof store === "string" && typeof serverUuid === "string" && (set === null || typeof set === "string");
}
