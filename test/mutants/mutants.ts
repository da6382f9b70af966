/** One guarantee taken away by a small change of the text, and the test that must notice. */
export type Mutant = {
  readonly name: string;
  readonly file: string;
  /** Must stand in the file exactly once; a mutant that no longer applies is an error, not a success. */
  readonly find: string;
  readonly replace: string;
  readonly test: { readonly file: string; readonly name: string };
};

export const MUTANTS: readonly Mutant[] = [
  {
    name: "A1: the tenant guard is off",
    file: "sinks/mysql/table-statements.ts",
    find: "OR EXP(710 + 0 * LENGTH(",
    replace: "OR TRUE OR EXP(710 + 0 * LENGTH(",
    test: { file: "test/contracts/mysql-guard.test.ts", name: "T1: tenants that a collation takes for one are two" },
  },
  {
    name: "A7: the epoch check is off",
    file: "sinks/mysql/lane-transaction.ts",
    find: "`WHERE lane = ? AND epoch = ? AND closed",
    replace: "`WHERE lane = ? AND epoch >= ? AND closed",
    test: {
      file: "test/contracts/sink.mysql.test.ts",
      name: "A7: a later applier owns the lane, the earlier one is refused and has changed nothing",
    },
  },
  {
    name: "W1: keys that changed in the window are kept in the chunk",
    file: "pipeline/lane-capture.ts",
    find: "const kept = rows.encode(window.changed);",
    replace: "const kept = rows.encode(new Set());",
    test: {
      file: "test/races/windows.test.ts",
      name: "W1: what changes between the read and high is left out, and arrives as it is",
    },
  },
  {
    name: "C: S2 is skipped",
    file: "cutover/attempt.ts",
    find: 'const second = await this.#timeline.run("drain-again", () => this.#drainAll((lane) => lane.seal(signal), signal));',
    replace: "const second = first;",
    test: {
      file: "test/races/fences.test.ts",
      name: "C: a liar's write between S1 and S2 arrives in the target by a repeated drain",
    },
  },
  {
    name: "W3: the range entry is dropped",
    file: "pipeline/lane-log.ts",
    find: 'return this.#append({ kind: "range", range }, new Uint8Array());',
    replace: "return Promise.resolve(null as unknown as Appended & { readonly range: typeof range });",
    test: {
      file: "test/races/windows.test.ts",
      name: "W3: every range is announced in the log before its chunk, and changes behind the announcement are kept",
    },
  },
  {
    name: "A2: dray.applied is ignored",
    file: "sinks/mysql/lane-progress.ts",
    find: ".filter(({ last }) => last > watermark);",
    replace: ".filter(({ last }) => last > watermark && last < 0);",
    test: {
      file: "test/races/mysql-sink.test.ts",
      name: "apply.after-commit: the target says what happened, and nothing is applied twice or lost",
    },
  },
  {
    name: "C: a second seal forgets what the first holds back",
    file: "pipeline/lane-capture.ts",
    find: "this.#held ??= [];",
    replace: "this.#held = [];",
    test: {
      file: "test/races/seal.test.ts",
      name: "C: what a first seal holds back is still held when the seal is set again",
    },
  },
  {
    name: "C6: a failover candidate that answers counts as having everything",
    file: "sinks/mysql/candidates.ts",
    find: "if (missing.isEmpty) return;",
    replace: "return;",
    test: {
      file: "test/contracts/mysql-candidates.test.ts",
      name: "a candidate that is behind when the time ends is named, with what it lacks; once it has it, it is confirmed",
    },
  },
  {
    name: "C1: ABORTED is not written before the unfence",
    file: "cutover/attempt.ts",
    find: "const outcome = await commitPoint.abort({ generation, homeUuid, facts }, signal);",
    replace:
      'const outcome: string = facts.code === "" ? await commitPoint.abort({ generation, homeUuid, facts }, signal) : "";',
    test: {
      file: "test/races/fences.test.ts",
      name: "C: one that fails aborts the attempt, and the next attempt goes through",
    },
  },
];
