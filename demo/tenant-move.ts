import type { MovedTenant } from "./check.ts";
import type { ServerAddress } from "./mysql.ts";
import { count } from "./narrator.ts";
import type { CommandResult, Product } from "./product.ts";
import {
  type DriveResult,
  failureText,
  readCutover,
  readFinish,
  readLog,
  readStatus,
  readSwitch,
  readTimes,
  readVerification,
  type StatusFacts,
  type Switch,
} from "./product-answers.ts";
import { SYSTEM } from "./product-files.ts";
import type { SwitchName } from "./report.ts";
import type { Side } from "./schema.ts";
import { writeBeforeCommit } from "./stray.ts";

/** A tenant has come so far; `isLast` says what ends with it. */
export interface Stage {
  readonly name: SwitchName | "refused cutover" | "finish";
  readonly moved: MovedTenant;
  readonly isLast: "no" | "of the tenant" | "of all";
}

export interface TenantMoveOptions {
  readonly product: Product;
  readonly manifestFile: string;
  readonly tenant: string;
  readonly productSchema: string;
  readonly routerUrl: string;
  readonly say: (text: string) => void;
  readonly signal: AbortSignal;
  /** The whole journey, or the cutover alone: what sabotage has damaged is not moved on. */
  readonly journey: "whole" | "cutover";
  readonly beforeMove: (tenant: string) => Promise<void>;
  /** All is copied, and nothing was compared by command. */
  readonly beforeVerify: (tenant: string) => Promise<void>;
  /** Resolves when enough was written while the tenant streams. */
  readonly beforeCutover: (tenant: string) => Promise<void>;
  /** Resolves when enough was written at the new home. */
  readonly afterSwitch: (tenant: string, to: Side) => Promise<void>;
  readonly afterFinish: (tenant: string) => Promise<void>;
  readonly check: (stage: Stage) => Promise<"well" | "wrong">;
  /** The source with an account that may lock tables: for the sabotage around the commit point. */
  readonly administrator: ServerAddress;
  /** Writes one row at the source although the tenant is fenced: around the commit point of the last move. */
  readonly stray: ((tenant: string) => Promise<{ table: string; key: string }>) | null;
}

const POLL_MS = 1000;
const FENCE_POLL_MS = 5;
const ALARM_TIMEOUT_MS = 30_000;
const GATE_TIMEOUT_MS = 120_000;
const ATTEMPTS_MAX = 3;
const LOG_PAGE = 10_000;
const EXIT_DONE = 0;
const EXIT_DIFFERS = 1;
const EXIT_REFUSED = 3;
const EXIT_NEEDS_PERSON = 5;
const WORDS: Readonly<Record<SwitchName, string>> = {
  cutover: "writes are held, the last changes drained, the routing switched",
  rollback: "way back: what it wrote at the target is in the source, and the routing is switched back",
  "second cutover": "way forward again",
};

/** One tenant's journey: there, back, there again, and the source's copy removed; checked after each. */
export class TenantMove {
  readonly #options: TenantMoveOptions;
  readonly #name: string;
  readonly #switches: Switch[] = [];

  constructor(options: TenantMoveOptions) {
    this.#options = options;
    this.#name = `${SYSTEM}-${options.tenant}`;
  }

  async run(): Promise<DriveResult> {
    const { manifestFile, tenant, say } = this.#options;
    const request = ["--manifest", manifestFile, "--tenant", tenant, "--from", "source", "--to", "target"];
    await this.#options.beforeMove(tenant);
    await this.#must(["preflight", ...request]);
    say(`dray preflight: nothing stands in the way of moving ${tenant} from source to target, and back`);
    await this.#must(["start", ...request]);
    say(`dray start: ${tenant}'s rows are copied while the application goes on writing them`);
    const { status, startMarkAtMs } = await this.#untilStreaming();
    const lastChunkAtMs = await this.#lastChunkAtMs();
    await this.#options.beforeVerify(tenant);
    const verified = await this.#verify();
    await this.#options.beforeCutover(tenant);
    const askedAtMs = wallMs();
    if (verified.found.length > 0) await this.#mustBeRefused();
    else await this.#firstSwitch();
    const journal = await this.#must(["journal", this.#name]);
    const { attemptAtMs, ...times } = readTimes({ tenant, startMarkAtMs, status, journal });
    const finishAtMs = await this.#onward(verified.found);
    return {
      tenant,
      startMarkAtMs,
      lastChunkAtMs,
      ...times,
      cutoverAtMs: attemptAtMs ?? askedAtMs,
      finishAtMs,
      verifiedRows: verified.rows,
      found: verified.found,
      switches: this.#switches,
    };
  }

  /** Checks where the tenant is, and goes on from there. When finishing was asked for; null where it did not come to that. */
  async #onward(found: readonly string[]): Promise<number | null> {
    const { tenant, check, journey } = this.#options;
    if (found.length > 0) {
      await check({ name: "refused cutover", moved: this.#moved("mirror"), isLast: "of all" });
      return null;
    }
    const isLast = journey === "whole" ? "no" : "of the tenant";
    const first = await check({ name: "cutover", moved: this.#moved("mirror"), isLast });
    if (first === "wrong" || journey === "cutover") return null;
    for (const name of ["rollback", "second cutover"] as const) {
      await this.#untilVerified();
      await this.#switchOver(name);
      await this.#options.afterSwitch(tenant, HOMES[name]);
      if ((await check({ name, moved: this.#moved("mirror"), isLast: "no" })) === "wrong") return null;
    }
    await this.#untilVerified();
    const askedAtMs = wallMs();
    await this.#finish();
    await this.#options.afterFinish(tenant);
    await check({ name: "finish", moved: this.#moved("gone"), isLast: "of the tenant" });
    return askedAtMs;
  }

  #moved(left: MovedTenant["left"]): MovedTenant {
    return { tenant: this.#options.tenant, switches: [...this.#switches], left };
  }

  async #firstSwitch(): Promise<void> {
    const { tenant, say, stray } = this.#options;
    await (stray === null ? this.#switchOver("cutover") : this.#switchOverWithStrays(stray));
    say(`${tenant} lives on the target now, and the source's copy follows it`);
    await this.#options.afterSwitch(tenant, "target");
  }

  /** Everything is compared once more from end to end, while both sides are written to. */
  async #verify(): Promise<{ readonly rows: number; readonly found: readonly string[] }> {
    const { tenant, say, product, signal } = this.#options;
    say(`dray verify: ${tenant}'s rows are compared on both sides while they are written to`);
    const result = await product.run(["verify", this.#name, "--watch", "--json"], signal);
    if (result.code !== EXIT_DONE && result.code !== EXIT_DIFFERS) throw failed("verify", result);
    const verified = readVerification(result.json);
    say(`dray verify: ${count(verified.rows)} rows compared, ${verified.found.length} differ`);
    for (const row of verified.found) say(`found by the product: ${row}`);
    return verified;
  }

  /** The gate must be closed to a tenant whose rows differ, and nothing may have happened. */
  async #mustBeRefused(): Promise<void> {
    const { say, product, signal } = this.#options;
    const result = await product.run(["cutover", this.#name, "--yes", "--json"], signal);
    const { outcome, reason } = readCutover(result.json ?? {});
    if (outcome !== "refused" || result.code !== EXIT_REFUSED) throw failed("cutover of rows that differ", result);
    say(`dray cutover: refused with exit code ${result.code}, nothing has happened: ${reason}`);
  }

  /** The copy at the other side follows, and was compared since. */
  async #untilVerified(): Promise<void> {
    const { say, tenant } = this.#options;
    const until = performance.now() + GATE_TIMEOUT_MS;
    for (;;) {
      const { problem, verification } = readStatus(await this.#must(["status", this.#name]));
      if (problem !== null) throw new Error(`dray status: ${tenant} stopped\n${problem}`);
      if (verification.isComplete) return say(`dray status: ${verification.words}`);
      if (performance.now() > until) throw new Error(`dray status: ${tenant} is not compared: ${verification.words}`);
      await this.#sleep();
    }
  }

  /** As an operator would: asks again while something is in the way. */
  async #finish(): Promise<void> {
    const { tenant, say, product, signal } = this.#options;
    const until = performance.now() + GATE_TIMEOUT_MS;
    say(`dray finish: ${tenant}'s rows are compared once more, and removed at the source`);
    for (;;) {
      const request = ["finish", this.#name, "--now", "--tenant", tenant, "--yes", "--json"];
      const result = await product.run(request, signal);
      if (result.code === EXIT_DONE) {
        const { removed, left } = readFinish(result.json);
        return say(`dray finish: ${count(removed)} rows removed at the source, ${left.length} left there`);
      }
      if (result.code !== EXIT_REFUSED || performance.now() > until) throw failed("finish", result);
      say(`dray finish: not now, nothing was removed: ${failureText(result)}`);
      await this.#sleep();
    }
  }

  async #untilStreaming(): Promise<{ status: unknown; startMarkAtMs: number }> {
    const { tenant, say } = this.#options;
    let startMarkAtMs: number | null = null;
    for (;;) {
      const status = await this.#must(["status", this.#name]);
      // Asked early: what is applied goes from the log after a while.
      startMarkAtMs ??= readLog(await this.#must(["log", this.#name, "--limit", "10"])).startMarkAtMs;
      const { phase, progress, problem } = readStatus(status);
      if (problem !== null) throw new Error(`dray status: ${tenant} stopped\n${problem}`);
      say(`dray status: ${tenant} is ${phase}, ${progress}`);
      if (phase === "streaming") {
        if (startMarkAtMs === null) throw new Error(`${tenant} streams, and its log has no start mark`);
        return { status, startMarkAtMs };
      }
      await this.#sleep();
    }
  }

  async #lastChunkAtMs(): Promise<number> {
    let found: number | null = null;
    for (let after = 0; ; ) {
      const page = readLog(
        await this.#must(["log", this.#name, "--after", String(after), "--limit", String(LOG_PAGE)]),
      );
      found = page.lastChunkAtMs ?? found;
      if (page.entries < LOG_PAGE) break;
      after = page.lastSeq;
    }
    if (found === null) throw new Error(`${this.#options.tenant} is copied, and its log has no chunk`);
    return found;
  }

  /** As an operator would: asks again while the gate is closed, and after an attempt that was aborted. */
  async #switchOver(name: SwitchName): Promise<void> {
    const { tenant, say, product, signal, stray } = this.#options;
    const command = name === "rollback" ? "rollback" : "cutover";
    const until = performance.now() + GATE_TIMEOUT_MS;
    const attempts = stray === null ? ATTEMPTS_MAX : 1;
    for (let attempt = 1; ; ) {
      say(`dray ${command}: ${tenant}'s ${WORDS[name]}`);
      const askedAtMs = wallMs();
      const result = await product.run([command, this.#name, "--yes", "--json"], signal);
      const { outcome, reason } = readCutover(result.json ?? {});
      if (outcome === "committed") {
        const done = readSwitch(result.json, { tenant, to: HOMES[name], askedAtMs });
        this.#switches.push(done);
        return say(`dray ${command}: committed, ${done.pauseMs.toFixed(0)} ms of pause`);
      }
      if (outcome === "refused" && performance.now() < until) {
        say(`the gate is closed, nothing has happened: ${reason}`);
      } else if (outcome === "aborted" && attempt++ < attempts) {
        say(`the attempt was aborted, ${tenant} works on where it was: ${reason}`);
      } else {
        throw failed(command, result);
      }
      await this.#sleep();
    }
  }

  /** One write at the source before the commit point, one after, both behind the fence; then the alarm must be there. */
  async #switchOverWithStrays(stray: NonNullable<TenantMoveOptions["stray"]>): Promise<void> {
    const { tenant, say } = this.#options;
    const gaveUp = new AbortController();
    const early = writeBeforeCommit({
      source: this.#options.administrator,
      productSchema: this.#options.productSchema,
      fenced: (signal) => this.#untilFenced(signal),
      write: () => stray(tenant),
      signal: AbortSignal.any([this.#options.signal, gaveUp.signal]),
    });
    const [first] = await Promise.all([
      early,
      this.#switchOver("cutover").catch((error: unknown) => {
        gaveUp.abort(error);
        throw error;
      }),
    ]);
    const second = await stray(tenant);
    say(`sabotage: before the commit point the source acknowledged a write to ${first.table} ${first.key}`);
    say(`sabotage: after it the source acknowledged a write to ${second.table} ${second.key}`);
    await this.#untilAlarms(2);
  }

  async #untilFenced(signal: AbortSignal): Promise<void> {
    const { routerUrl, tenant } = this.#options;
    for (;;) {
      const answer = await fetch(`${routerUrl}/where?tenant=${encodeURIComponent(tenant)}`, { signal });
      if (((await answer.json()) as { fenced: boolean }).fenced) return;
      await new Promise((resolve) => setTimeout(resolve, FENCE_POLL_MS));
    }
  }

  async #untilAlarms(times: number): Promise<void> {
    const { product, say, signal } = this.#options;
    const until = performance.now() + ALARM_TIMEOUT_MS;
    for (;;) {
      const { code, json } = await product.run(["status", this.#name, "--json"], signal);
      const { alarms, alarmsRaised }: StatusFacts = readStatus(json);
      if (code === EXIT_NEEDS_PERSON && alarmsRaised >= times) {
        for (const alarm of alarms) say(`the product's alarm: ${alarm}`);
        return;
      }
      if (performance.now() > until) {
        throw new Error(`${times} stray writes at the source, and the product raised ${alarmsRaised} alarms`);
      }
      await this.#sleep();
    }
  }

  async #must(args: readonly string[]): Promise<unknown> {
    const { product, signal, stray } = this.#options;
    const result: CommandResult = await product.run([...args, "--json"], signal);
    // An alarm is what the stray writes are made for; otherwise it ends the demo.
    const isWell = result.code === EXIT_DONE || (stray !== null && result.code === EXIT_NEEDS_PERSON);
    if (!isWell) throw new Error(`dray ${args.join(" ")} ended with ${result.code}\n${failureText(result)}`);
    return result.json;
  }

  async #sleep(): Promise<void> {
    this.#options.signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

const HOMES: Readonly<Record<SwitchName, Side>> = { cutover: "target", rollback: "source", "second cutover": "target" };

function failed(command: string, result: CommandResult): Error {
  return new Error(`dray ${command} ended with ${result.code}\n${failureText(result)}`);
}

/** Wall time with the resolution and steadiness of the monotonic clock. */
function wallMs(): number {
  return performance.timeOrigin + performance.now();
}
