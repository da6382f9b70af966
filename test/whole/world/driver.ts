import { setTimeout as sleep } from "node:timers/promises";
import { pino } from "pino";
import { type Dray, openDray } from "../../../cutover/dray.ts";
import type { MoveSettings } from "../../../cutover/move-context.ts";
import type {
  CutoverRequest,
  CutoverResult,
  FinishRequest,
  FinishResult,
  MoveStatus,
  VerificationReport,
  VerifyRequest,
} from "../../../cutover/move-service.ts";
import type { ServerConfig } from "../../../cutover/server-settings.ts";
import { noProbe, type Probe } from "../../../pipeline/probe.ts";
import type { Side } from "./ledger.ts";

/** Small ranges, so that little data has many chunks. */
export const SMALL: Partial<MoveSettings> = {
  parallelRanges: 3,
  chunkBudget: { rows: 40, bytes: 64 * 1024 },
  keepAppliedMs: 2_000,
  routePatienceMs: 2_000,
};

/** What an operator can ask of a move; in this process or in a child that may die. */
export interface Driver {
  start(tenant: string): Promise<void>;
  status(): Promise<MoveStatus>;
  cutover(request?: Partial<CutoverRequest>): Promise<CutoverResult>;
  act(verb: "pause" | "resume" | "retry" | "abort" | "close"): Promise<void>;
  recopy(table: string | null): Promise<void>;
  resolve(owner: "from" | "to"): Promise<void>;
  verify(request?: Partial<VerifyRequest>): Promise<void>;
  verification(): Promise<VerificationReport>;
}

export type OpenOptions = {
  readonly config: ServerConfig;
  readonly manifest: string;
  readonly probe?: Probe;
  readonly settings?: Partial<MoveSettings>;
};

/** A guard against a hang, never a measure of speed: machines that run tests are slow. */
const HANG_MS = 180_000;
const CALLER = { by: "test", role: "admin" as const };

/** The product in this process. */
export class LocalDriver implements Driver {
  readonly dray: Dray;
  readonly #manifest: string;
  readonly #move: string;

  private constructor(dray: Dray, manifest: string, move = "it") {
    this.dray = dray;
    this.#manifest = manifest;
    this.#move = move;
  }

  static async open({ config, manifest, probe, settings }: OpenOptions): Promise<LocalDriver> {
    const logger = pino({ level: process.env["LOG"] ?? "silent" }, pino.destination({ dest: 2, sync: true }));
    const dray = await openDray(config, { logger, probe: probe ?? noProbe, settings: { ...SMALL, ...settings } });
    return new LocalDriver(dray, manifest);
  }

  /** The same product, for another of its moves. */
  named(move: string): LocalDriver {
    return new LocalDriver(this.dray, this.#manifest, move);
  }

  async start(tenant: string, way: { readonly from: Side; readonly to: Side } = { from: "a", to: "b" }): Promise<void> {
    const request = { manifest: this.#manifest, manifestFile: "world.yaml", tenant, ...way, name: this.#move };
    await this.dray.service.start(request, CALLER, new AbortController().signal);
  }

  status(): Promise<MoveStatus> {
    return this.dray.service.status(this.#move);
  }

  cutover(request: Partial<CutoverRequest> = {}): Promise<CutoverResult> {
    const whole = { dryRun: false, maxLagSeconds: null, maxPauseMs: null, acceptUnverified: false, ...request };
    return this.dray.service.cutover(this.#move, whole, CALLER, () => {});
  }

  rollback(request: Partial<CutoverRequest> = {}): Promise<CutoverResult> {
    const whole = { dryRun: false, maxLagSeconds: null, maxPauseMs: null, acceptUnverified: false, ...request };
    return this.dray.service.rollback("it", whole, CALLER, () => {});
  }

  async act(verb: "pause" | "resume" | "retry" | "abort" | "close"): Promise<void> {
    await this.dray.service[verb](this.#move, CALLER);
  }

  finish(request: Partial<FinishRequest> = {}): Promise<FinishResult> {
    const whole = { dryRun: false, now: false, tenant: null, acceptUnverified: false, ...request };
    return this.dray.service.finish("it", whole, CALLER, AbortSignal.timeout(HANG_MS));
  }

  async recopy(table: string | null): Promise<void> {
    await this.dray.service.recopy(this.#move, table, CALLER);
  }

  async verify(request: Partial<VerifyRequest> = {}): Promise<void> {
    await this.dray.service.verify(this.#move, { table: null, repair: false, ...request }, CALLER);
  }

  verification(showValues = false): Promise<VerificationReport> {
    return this.dray.service.verification(this.#move, showValues, CALLER, AbortSignal.timeout(HANG_MS));
  }

  async resolve(owner: "from" | "to"): Promise<void> {
    await this.dray.service.resolve(this.#move, owner, CALLER);
  }

  async close(): Promise<void> {
    await this.dray.close();
  }
}

/** Waits until the move is in one of the phases; a failed move that is not waited for says why. */
export async function phase(driver: Pick<Driver, "status">, ...wanted: readonly string[]): Promise<MoveStatus> {
  let untilMs = performance.now() + HANG_MS;
  for (let before = ""; ; ) {
    const status = await driver.status();
    const now = progressOf(status);
    if (now !== before) untilMs = performance.now() + HANG_MS;
    before = now;
    if (wanted.includes(status.phase)) return status;
    if (status.phase === "failed" || performance.now() > untilMs) {
      throw new Error(`${status.phase} instead of ${wanted.join(", ")}: ${JSON.stringify(status, null, 1)}`);
    }
    await sleep(20);
  }
}

/**
 * Rows that were copied, or removed before they are: what tells a slow copy from one that hangs. Nothing that moves by
 * itself counts, as watermarks do with each heartbeat, and what is tried again does with each retry.
 */
function progressOf({ phase: now, lanes }: MoveStatus): string {
  const each = lanes.map(({ tables, waiting }) => [
    tables.map(({ state, rowsCopied }) => [state, rowsCopied]),
    waiting.filter((reason) => reason.includes(" is emptied of stale rows ")),
  ]);
  return JSON.stringify([now, each]);
}

/** Waits until every range has been compared since it was asked for, and every dirty key once. */
export async function compared(driver: Pick<LocalDriver, "verification">): Promise<VerificationReport> {
  const untilMs = performance.now() + HANG_MS;
  for (;;) {
    const report = await driver.verification();
    const isDone = report.lanes.every(({ covered, passUnderWay }) => covered && !passUnderWay);
    // What was found by a range has its columns once it was compared by its key.
    if (isDone && report.differences.every(({ columns }) => columns !== null)) return report;
    if (performance.now() > untilMs) throw new Error(`not compared: ${JSON.stringify(report, null, 1)}`);
    await sleep(20);
  }
}

/** `dray rollback`, again while the gate says no. */
export async function rollbackOnceOpen(
  driver: Pick<LocalDriver, "rollback">,
  request: Partial<CutoverRequest> = {},
): Promise<CutoverResult> {
  return await cutoverOnceOpen(
    { cutover: (each) => driver.rollback(each) } as Pick<Driver, "cutover" | "status">,
    request,
  );
}

/** `dray cutover`, again while the gate says no, as an operator would. */
export async function cutoverOnceOpen(
  driver: Pick<Driver, "cutover" | "status">,
  request: Partial<CutoverRequest> = {},
): Promise<CutoverResult> {
  const untilMs = performance.now() + HANG_MS;
  for (;;) {
    const result = await driver.cutover(request);
    if (result.outcome !== "refused" || performance.now() > untilMs) return result;
    await sleep(50);
  }
}
