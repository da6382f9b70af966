import { describe, expect, test } from "vitest";
import { verifyWords } from "../../cutover/prediction.ts";
import { KeyPace } from "../../pipeline/verify/key-pace.ts";

describe("C10: how long a key takes that is read by itself on both sides", () => {
  test("is assumed until both sides have read some, and then the sum of what each took", () => {
    const pace = new KeyPace();
    expect(pace.perKey.known).toBe("assumed");
    pace.took("source", 1_000, 20);
    expect(pace.perKey.known).toBe("assumed");
    pace.took("target", 0, 5);
    expect(pace.perKey.known).toBe("assumed");
    pace.took("target", 1_000, 30);
    expect(pace.perKey).toMatchObject({ ms: expect.closeTo(0.05), known: "measured" });
  });

  test("a few keys are not taken for the cost of their statement, and the newest reading counts most", () => {
    const pace = new KeyPace();
    pace.took("source", 1, 1);
    pace.took("target", 1, 1);
    expect(pace.perKey.ms).toBeCloseTo(0.04);
    for (let i = 0; i < 20; i++) pace.took("target", 1_000, 1_000);
    expect(pace.perKey.ms).toBeCloseTo(1.02, 1);
  });

  test("the prediction says which of the two it is", () => {
    const words = (known: "measured" | "assumed") => verifyWords(7, { ms: 4, msPerKey: 0.05, known });
    expect(words("measured")).toBe("about 7 keys will be dirty, at 0.050 ms a key, measured as keys were compared");
    expect(words("assumed")).toBe(
      "about 7 keys will be dirty, at 0.050 ms a key, assumed: none was compared by itself yet",
    );
    expect(verifyWords(0, null)).toBe("about 0 keys will be dirty: nothing is read");
  });
});
