import { describe, expect, test } from "vitest";
import { allowed, EVENTS, next, PHASES, TABLE } from "../../cutover/phases.ts";

describe("K1: the move's state machine", () => {
  test("is total: every phase answers every event", () => {
    for (const phase of PHASES) {
      for (const event of EVENTS) expect([...PHASES, "refuse"]).toContain(TABLE[phase][event]);
    }
  });

  test("every phase can be left and reached; from where nothing runs the name may begin again", () => {
    for (const phase of PHASES) expect(allowed(phase), phase).not.toEqual([]);
    expect(allowed("closed")).toEqual(["start-again"]);
    const free = PHASES.filter((phase) => TABLE[phase]["start-again"] === "planned");
    expect(free).toEqual(["planned", "finished", "aborted", "closed"]);
    const reached = new Set<string>(["planned"]);
    for (let before = -1; before !== reached.size; ) {
      before = reached.size;
      for (const phase of PHASES) {
        if (reached.has(phase)) for (const event of allowed(phase)) reached.add(TABLE[phase][event]);
      }
    }
    expect([...reached].sort()).toEqual([...PHASES].sort());
  });

  test("C1: behind COMMITTED nothing goes back by itself, and an abort is for moves before it", () => {
    const behind = ["copied", "attempt-back", "found-back", "found", "retry", "recopy", "skip", "finish", "close"];
    expect(allowed("watching")).toEqual(behind);
    for (const event of ["copied", "retry", "recopy", "skip"] as const)
      expect(next("watching", event)).toBe("watching");
    for (const phase of PHASES) {
      const to = TABLE[phase].abort;
      const isBehind = ["watching", "rolling-back", "finishing", "finished", "aborted", "closed"].includes(phase);
      expect(to, phase).toBe(isBehind ? "refuse" : "aborting");
    }
  });

  test("an event that is not allowed is refused and says what is", () => {
    expect(() => next("watching", "attempt")).toThrow(/ILLEGAL_STEP/);
    try {
      next("watching", "attempt");
    } catch (error) {
      expect(error).toMatchObject({ facts: { phase: "watching", event: "attempt", allowed: allowed("watching") } });
    }
  });

  test("a cutover begins where the tenant lives at its source, a rollback where it does not; a failed one ends there", () => {
    const from = (event: "attempt" | "attempt-back") => PHASES.filter((phase) => TABLE[phase][event] !== "refuse");
    expect(from("attempt")).toEqual(["streaming", "rolled-back"]);
    expect(from("attempt-back")).toEqual(["watching"]);
    expect(next("cutting-over", "attempt-aborted")).toBe("streaming");
    expect(next("rolling-back", "attempt-aborted")).toBe("watching");
  });
});
