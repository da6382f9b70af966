import { afterEach, expect, test } from "vitest";
import { Supervised } from "../../cutover/lane/supervised.ts";
import { type Clock, systemClock } from "../../pipeline/clock.ts";
import { DrayError } from "../../pipeline/errors.ts";

const PATIENT = AbortSignal.timeout(20_000);
let part: Supervised<string> | null = null;
let slept: number[] = [];
let tries = 0;

afterEach(async () => {
  await part?.stop("the test ends");
  part = null;
});

/** Fails `failures` times, as on a full disk, and is there then. Sleeps of more than a second are not slept out here. */
function open(failures: number): Supervised<string> {
  slept = [];
  tries = 0;
  const clock: Clock = {
    ...systemClock,
    sleep: async (ms, signal) => {
      slept.push(ms);
      await systemClock.sleep(ms > 1_000 ? 3_600_000 : ms / 100, signal);
    },
  };
  const supervised = new Supervised<string>({
    clock,
    run: async (signal, ready) => {
      if (++tries <= failures) throw new DrayError("LOG_FULL", { folder: "here" });
      ready("there");
      await systemClock.sleep(3_600_000, signal);
    },
    onStopped: () => {},
  });
  part = supervised;
  return supervised;
}

/** Until it stands in a pause of seconds. */
async function untilPatient(): Promise<void> {
  await expect.poll(() => (slept.at(-1) ?? 0) > 1_000, { timeout: 20_000 }).toBe(true);
}

test("C11: a lane's part that has failed for long is tried at once, and again soon, while somebody waits for it", async () => {
  const supervised = open(12);
  supervised.start();
  await untilPatient();
  const before = { tries, pauses: slept.length };
  expect(await supervised.wait(PATIENT)).toBe("there");
  expect(tries).toBe(13);
  // The pause of seconds was cut short; all that came after it were short from the beginning.
  const hurried = slept.slice(before.pauses);
  expect(hurried.length).toBe(12 - before.tries);
  for (const ms of hurried) expect(ms).toBeLessThanOrEqual(50);
  expect(supervised.retrying).toBeNull();
});

test("whom nobody waits for any more is tried with growing pauses again", async () => {
  const supervised = open(1_000);
  supervised.start();
  await untilPatient();
  await expect(supervised.wait(AbortSignal.timeout(30))).rejects.toThrow();
  expect(slept.filter((ms) => ms === 50).length).toBeGreaterThan(1);
  await untilPatient();
  const later = tries;
  await systemClock.sleep(50);
  expect(tries).toBe(later);
});

test("A8: what stood on a target that is another by now is opened anew, and nobody is needed", async () => {
  const stopped: unknown[] = [];
  let opened = 0;
  part = new Supervised<string>({
    clock: systemClock,
    run: async (signal, ready) => {
      ready(`opened ${++opened}`);
      if (opened < 3) throw new DrayError("TARGET_CHANGED", { server: "here" });
      await systemClock.sleep(3_600_000, signal);
    },
    onStopped: (error) => stopped.push(error),
  });
  part.start();
  await expect.poll(() => part?.part).toBe("opened 3");
  expect(stopped).toEqual([]);
  expect(part.retrying).toBeNull();
});

test("it ends in the middle of a pause", async () => {
  const supervised = open(1_000);
  supervised.start();
  await untilPatient();
  await supervised.stop("enough");
  expect(supervised.part).toBeNull();
});
