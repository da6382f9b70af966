import type { Generated } from "kysely";

/** The control store's tables, the same for every dialect. JSON lies in text columns; times are wall milliseconds. */
export type ControlTables = {
  move: {
    id: Generated<number>;
    name: string;
    manifest: string;
    tenant: string;
    from_cluster: string;
    to_cluster: string;
    phase: string;
    generation: number;
    journal_seq: number;
    details: string;
    created_at_ms: number;
  };
  /** Append-only: (move, seq) is the key, so that two who append at the same seq cannot both win. */
  journal: {
    move: string;
    seq: number;
    at_ms: number;
    from_phase: string;
    event: string;
    to_phase: string;
    facts: string;
    by_whom: string;
  };
  lane: { lane: string; move: string; epoch: number; checkpoint: string | null; spec: string };
  lease: { name: string; holder: string; epoch: number; expires_at_ms: number };
  alarm: {
    id: Generated<number>;
    move: string;
    code: string;
    message: string;
    facts: string;
    raised_at_ms: number;
    times: number;
    cleared_at_ms: number | null;
    cleared_by: string | null;
  };
};
