import { describe, expect, test } from "vitest";
import type { Move } from "../../cutover/move.ts";
import type { Phase } from "../../cutover/phases.ts";
import { rollbackWords } from "../../cutover/way-back.ts";

type Lanes = Readonly<Record<"active" | "standby", readonly string[]>>;

function moveWith(phase: Phase, side: "from" | "to", lanes: Lanes): Move {
  const open = (stores: readonly string[]) =>
    stores.map((name) => ({ store: { definition: { name } }, runtime: { state: () => ({ stopped: {} }) } }));
  return {
    phase,
    details: { rollback: { kind: "stream" }, lives: { side, generation: side === "to" ? 1 : 0 } },
    lanes: { active: open(lanes.active), with: (role: "active" | "standby") => open(lanes[role]) },
    context: { stores: { forward: ["db", "files"].map((name) => ({ definition: { name } })) } },
  } as unknown as Move;
}

describe("C8: rollback says stream only where a lane leads back for each store", () => {
  test("behind the commit they carry", () => {
    const both = { active: ["db", "files"], standby: [] };
    for (const phase of ["watching", "rolling-back", "failed"] as const) {
      expect(rollbackWords(moveWith(phase, "to", both)), phase).toBe("stream");
      const one = rollbackWords(moveWith(phase, "to", { active: ["db"], standby: ["files"] }));
      expect(one, phase).toBe("unavailable (no lane leads back for files)");
    }
  });

  test("behind the gate they stand by; before it they may be about to be made", () => {
    const none = { active: ["db", "files"], standby: [] };
    expect(rollbackWords(moveWith("streaming", "from", none))).toBe("stream");
    expect(rollbackWords(moveWith("cutting-over", "from", none))).toBe(
      "unavailable (no lane leads back for db, files)",
    );
    const both = { active: ["db", "files"], standby: ["db", "files"] };
    expect(rollbackWords(moveWith("cutting-over", "from", both))).toBe("stream");
  });
});
