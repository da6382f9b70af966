import type { Evidence, JournalEntry } from "../../cutover/move-service.ts";

export type PlainMove = {
  readonly move: string;
  readonly tenant: string;
  readonly from: string;
  readonly to: string;
  readonly phase: string;
  readonly journal: readonly JournalEntry[];
};

/** Of a move that was switched once, as small as it can be while every part says something. */
export function plainEvidence({ journal, ...move }: PlainMove): Evidence {
  const table = { lane: `${move.move}.main.f1`, table: "shop.users" };
  const noted = { seq: 1, atMs: 0, by: "ann" };
  const generation = 1;
  const condition = { name: "lag", verdict: "yes", value: "0.004 s", limit: "1 s" } as const;
  const finding = {
    id: "mysql.x",
    severity: "warning",
    subject: "eu1",
    finding: "a thing",
    remedy: "Mend it.",
    rule: "M6",
  };
  const proof = [{ lane: table.lane, epoch: 1, s1: 9, s2: 12, lastChange: 8 }];
  const compared = { covered: true, rowsCopied: 3, rowsCompared: 3, ranges: 1, fromSeq: 5, toSeq: 5, dirtyKeys: 0 };
  const digests = { source: "0a".repeat(16), target: "0a".repeat(16) };
  return {
    move: move.move,
    madeAtMs: 0,
    parts: {
      manifest: {
        ...{ ...move, generation, createdAtMs: 0, lives: { side: "to", generation }, rollback: "stream" },
        manifest: { name: "shop" },
      },
      preflight: {
        found: { known: { ...noted, findings: [{ ...finding, severity: "warning" }] }, why: null },
        gates: [{ ...noted, direction: "forward", conditions: [condition] }],
      },
      journal,
      cutovers: [
        {
          ...{ generation, direction: "forward", askedBy: "ann", askedAtMs: 0, outcome: "committed", committedAtMs: 5 },
          ...{
            endedAtMs: 6,
            reason: null,
            maxPauseMs: 1_000,
            pauseMs: 12,
            adapterMs: 4,
            repeats: 0,
            decidedIn: "home",
          },
          acceptedUnverified: [],
          steps: [{ step: "fence", predictedMs: 5, actualMs: 4.25, how: "measured" }],
        },
      ],
      verification: {
        lanes: { known: null, why: "no lane runs" },
        differences: { known: null, why: "no lane runs" },
        asked: [],
        accepted: null,
      },
      fenceProof: {
        cutovers: [{ generation, direction: "forward", proof: { known: proof, why: null }, leaks: [], unproven: [] }],
        strays: [],
        openAlarms: [],
      },
      tables: {
        how: "counted and compared",
        counted: [
          { when: "gate", atMs: 0, tables: [{ ...table, source: 3, target: 3, least: 0, most: 0, fits: "yes" }] },
        ],
        compared: [
          { when: "now", atMs: 0, tables: [{ ...table, ...compared, digests, differences: 0, moreDiffer: false }] },
        ],
        finished: null,
      },
      people: { consents: [], did: [{ ...noted, event: "create", facts: {} }] },
      versions: {
        ...{ evidence: 1, dray: { known: "1.2.3", why: null }, node: "v24", log: "embedded" },
        servers: [{ cluster: "eu1", side: "from", server: { known: null, why: "it does not answer" } }],
      },
    },
  };
}
