import { type CheckResult, check, type MovedTenant } from "./check.ts";
import type { ApplicationHandle } from "./children.ts";
import type { CheckedStage } from "./drive.ts";
import { type Moment, openMoment, untilEven } from "./moment.ts";
import type { ServerAddress } from "./mysql.ts";
import { count, type Narrator } from "./narrator.ts";
import type { DemoOptions } from "./options.ts";
import { exitCode } from "./report.ts";
import { type Damage, damageTarget, sabotage } from "./sabotage.ts";
import { type Side, SOURCE_TENANTS, TARGET_TENANTS } from "./schema.ts";

interface ChecksOptions {
  readonly options: DemoOptions;
  readonly servers: Readonly<Record<Side, ServerAddress>>;
  readonly folder: string;
  readonly ledgerFile: string;
  readonly application: ApplicationHandle;
  readonly narrator: Narrator;
  readonly signal: AbortSignal;
}

/**
 * The same check after each stage of the journey, by SQL and the application's ledger alone. The application holds still
 * for the moment that is checked, until the copies that follow have everything, and writes on while the rows are read; for
 * the last check it is at rest. What `--sabotage` does to rows is done here.
 */
export class Checks {
  readonly #options: ChecksOptions;
  #last: CheckResult | null = null;
  #damage: Damage | null = null;
  /** The row that the application leaves alone, for `--sabotage target-row`. */
  #reserved: string | null = null;

  constructor(options: ChecksOptions) {
    this.#options = options;
  }

  get damage(): Damage | null {
    return this.#damage;
  }

  /** Of the last one that was made: of all that came before nothing was wrong. */
  result(): CheckResult {
    if (this.#last === null) throw new Error("nothing was checked");
    return this.#last;
  }

  async make({ name, moved, position }: CheckedStage): Promise<"well" | "wrong"> {
    const { narrator, folder, application } = this.#options;
    narrator.part(`the check after the ${name}: every row of both sides, by SQL and the application's ledger alone`);
    const beganMs = performance.now();
    const moment = await (position === "last" ? this.#lastMoment(moved) : application.held(() => this.#moment(moved)));
    const heldMs = performance.now() - beganMs;
    try {
      const result = await check({ moment, imageFolder: folder, moved });
      this.#last = result;
      const { rowsCompared, lostWrites, differences, neighboursChanged, strays } = result;
      const held =
        position === "last" ? "the application is at rest" : `the application held still for ${heldMs.toFixed(0)} ms`;
      narrator.say(
        `${count(rowsCompared)} rows compared: ${lostWrites} writes lost, ${differences} rows differ, ` +
          `${neighboursChanged} of neighbours changed, ${strays} strays; ${held}`,
      );
      return exitCode(result, []) === 0 ? "well" : "wrong";
    } finally {
      await moment.close();
    }
  }

  /** For a row to be damaged long after its last write has come through. */
  async reserve(tenant: string): Promise<void> {
    const { options, application } = this.#options;
    await application.focus(tenant);
    if (options.sabotage !== "target-row" || this.#reserved !== null) return;
    this.#reserved = (await application.reserve(tenant)).key;
  }

  async damageTarget(): Promise<void> {
    if (this.#reserved === null || this.#damage !== null) return;
    this.#damaged(await damageTarget(this.#options.servers.target, this.#reserved));
  }

  async #moment(moved: readonly MovedTenant[]): Promise<Moment> {
    const { servers, ledgerFile, signal } = this.#options;
    const following = moved.filter(({ left }) => left === "mirror").map(({ tenant }) => tenant);
    await untilEven(servers, following, signal);
    return await openMoment(servers, ledgerFile);
  }

  async #lastMoment(moved: readonly MovedTenant[]): Promise<Moment> {
    const { options, servers, ledgerFile, application } = this.#options;
    await application.settle();
    const moment = await this.#moment(moved);
    const kind = options.sabotage;
    if (kind === null || kind === "stray" || kind === "target-row") return moment;
    await moment.close();
    const [tenant = "", neighbour = ""] = [SOURCE_TENANTS[0], TARGET_TENANTS[0]];
    this.#damaged(await sabotage({ kind, servers, ledgerFile, tenant, neighbour }));
    return await openMoment(servers, ledgerFile);
  }

  #damaged(damage: Damage): void {
    this.#damage = damage;
    this.#options.narrator.say(`sabotage: ${damage.table} ${damage.key} on the ${damage.side} is altered by plain SQL`);
  }
}
