import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { StringDecoder } from "node:string_decoder";
import type { Cell, Side, TableName } from "./schema.ts";

/**
 * What the application was told about its writes: an append-only file of JSON lines. An intent, with every row it
 * writes and every value, is in the file before COMMIT is sent; the outcome after the answer. An intent without an
 * outcome (the process or the connection died) is of unknown outcome. Writes to one key never overlap, so that the order
 * of intents is the order of each row's life.
 */
export type Write =
  | { readonly op: "insert"; readonly table: TableName; readonly id: string; readonly values: Values }
  /** `values` are the columns that were set; `rev` goes up by one with each. */
  | { readonly op: "update"; readonly table: TableName; readonly id: string; readonly values: Values }
  | { readonly op: "delete"; readonly table: TableName; readonly id: string };
export type Values = Readonly<Record<string, Cell>>;

export type Outcome = "acknowledged" | "unknown";

export interface LedgerEntry {
  readonly serial: number;
  readonly tenant: string;
  readonly side: Side;
  /** Made on purpose although the tenant was fenced: the demo's sabotage. */
  readonly stray: boolean;
  readonly writes: readonly Write[];
  readonly outcome: Outcome;
  /** Wall milliseconds at the answer of COMMIT; null where there was none. */
  readonly acknowledgedAtMs: number | null;
}

type IntentLine = { k: "intent"; n: number; tenant: string; side: Side; stray: boolean; writes: readonly Write[] };
type OutcomeLine = { k: Outcome; n: number; at: number };

const BLOCK_BYTES = 1024 * 1024;

export class LedgerWriter {
  readonly #file: number;
  #serial = 0;
  constructor(options: { readonly path: string }) {
    this.#file = openSync(options.path, "wx");
  }
  intent(about: { tenant: string; side: Side; stray: boolean; writes: readonly Write[] }): number {
    const line: IntentLine = { k: "intent", n: ++this.#serial, ...about };
    this.#append(line);
    return line.n;
  }
  outcome(serial: number, outcome: Outcome, atMs: number): void {
    this.#append({ k: outcome, n: serial, at: atMs });
  }
  close(): void {
    closeSync(this.#file);
  }
  #append(line: IntentLine | OutcomeLine): void {
    writeSync(this.#file, `${JSON.stringify(line)}\n`);
  }
}

/** In the order of intents. A last line that a crash cut off was an intent whose COMMIT was never sent, or an outcome. */
export function readLedger(path: string): LedgerEntry[] {
  const intents: IntentLine[] = [];
  const outcomes = new Map<number, OutcomeLine>();
  for (const text of wholeLines(path)) {
    const line = JSON.parse(text) as IntentLine | OutcomeLine;
    if (line.k === "intent") intents.push(line);
    else outcomes.set(line.n, line);
  }
  return intents.map(({ n, tenant, side, stray, writes }) => {
    const outcome = outcomes.get(n);
    const isKnown = outcome?.k === "acknowledged";
    return {
      serial: n,
      tenant,
      side,
      stray,
      writes,
      outcome: isKnown ? "acknowledged" : "unknown",
      acknowledgedAtMs: isKnown ? outcome.at : null,
    };
  });
}

/** Block by block: a long run's file is larger than the longest string. */
function* wholeLines(path: string): Generator<string> {
  const file = openSync(path, "r");
  try {
    const block = Buffer.alloc(BLOCK_BYTES);
    const decoder = new StringDecoder("utf8");
    let rest = "";
    for (let bytes = readSync(file, block); bytes > 0; bytes = readSync(file, block)) {
      const lines = (rest + decoder.write(block.subarray(0, bytes))).split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
    }
  } finally {
    closeSync(file);
  }
}
