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
    expect(free).toEqual(["planned", "aborted", "closed"]);
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
    expect(allowed("watching")).toEqual(["retry", "close"]);
    expect(next("watching", "retry")).toBe("watching");
    for (const phase of PHASES) {
      const to = TABLE[phase].abort;
      expect(to, phase).toBe(["watching", "aborted", "closed"].includes(phase) ? "refuse" : "aborting");
    }
  });

  test("an event that is not allowed is refused and says what is", () => {
    expect(() => next("watching", "attempt")).toThrow(/ILLEGAL_STEP/);
    try {
      next("watching", "attempt");
    } catch (error) {
      expect(error).toMatchObject({ facts: { phase: "watching", event: "attempt", allowed: ["retry", "close"] } });
    }
  });

  test("a cutover begins from streaming only, and a failed attempt streams again", () => {
    for (const phase of PHASES) expect(TABLE[phase].attempt === "cutting-over", phase).toBe(phase === "streaming");
    expect(next("cutting-over", "attempt-aborted")).toBe("streaming");
  });
});
