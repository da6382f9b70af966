import type {
  AdapterCall,
  AdapterOutcome,
  AdapterReading,
  FenceAdapter,
  ReadOutcome,
  RouteAdapter,
} from "./adapter.ts";

export type AdapterCheck = {
  /** Stable: `lower-generation-refused`. */
  readonly id: string;
  readonly rule: string;
  readonly verdict: "passed" | "failed";
  readonly finding: string;
  readonly remedy: string | null;
};

export type AdapterReport = { readonly passed: boolean; readonly checks: readonly AdapterCheck[] };

export type AdapterTestOptions = {
  readonly adapter: FenceAdapter & RouteAdapter;
  /** A tenant that the adapter knows and nobody uses: it is fenced, unfenced and routed. */
  readonly tenant: string;
  /** Where that tenant lives already: routing it there changes nothing. */
  readonly to: string;
  readonly move: string;
  readonly signal: AbortSignal;
};

/**
 * C4, from outside: every promise that a cutover relies on, tried in an order in which an adapter that breaks one shows
 * it. Generations begin above the one that is read, so that the kit can be run again. The tenant ends open.
 */
export async function testAdapter(options: AdapterTestOptions): Promise<AdapterReport> {
  const checks: AdapterCheck[] = [];
  const start = await options.adapter.read(options, options.signal);
  if (start.kind === "unknown") {
    checks.push(failed("read-back", `GET did not answer with a state: ${start.reason}`, REMEDIES.readBack));
    return { passed: false, checks };
  }
  checks.push(passed("read-back", `reads ${say(start.reading)}`));
  const kit = new Kit(options, start.reading.generation, checks);
  await kit.fenceAndPin();
  await kit.unfenceIsFinal();
  await kit.lowerIsRefused();
  await kit.unfenceBeforeFence();
  await kit.routeIsIdempotent();
  await kit.retireHolds();
  await kit.leaveOpen();
  return { passed: checks.every((check) => check.verdict === "passed"), checks };
}

const REMEDIES = {
  readBack: "Answer GET url?tenant= with 200 and {generation, state, expiresAt}: an answer that was lost is read back.",
  accept: "Answer PUT with 200 and {generation, state, expiresAt} once the state is durable.",
  repeat: "A repeat of the same action with the same generation answers 200 with the same state: calls are sent again.",
  lower: "Keep the highest generation durably and answer 409 to any lower one, whatever the action.",
  final: "After unfence(g), answer 409 to fence, pin, retire and route of g: a call that was delayed must not act.",
  early: "unfence(g) must be recorded also where fence(g) never arrived: it may still arrive.",
  route: "route(g) takes effect once and for good: repeat it with 200, and answer 409 to a late fence or unfence of g.",
  retire:
    "retire(g) holds until a route of a later generation: answer 409 to unfence of g and to a fence of a later one.",
} as const;

const RULE = "C4";

class Kit {
  readonly #options: AdapterTestOptions;
  readonly #checks: AdapterCheck[];
  #generation: number;

  constructor(options: AdapterTestOptions, above: number, checks: AdapterCheck[]) {
    this.#options = options;
    this.#generation = above;
    this.#checks = checks;
  }

  async fenceAndPin(): Promise<void> {
    const call = this.#next();
    await this.#expectDone("fence", this.#fence(call), REMEDIES.accept);
    await this.#expectRead("fence-read-back", call, ["fenced"]);
    await this.#expectDone("fence-repeated", this.#fence(call), REMEDIES.repeat);
    await this.#expectDone("pin", this.#adapter.pin(call, this.#signal), REMEDIES.accept);
    await this.#expectDone("pin-repeated", this.#adapter.pin(call, this.#signal), REMEDIES.repeat);
    await this.#expectRead("pin-read-back", call, ["pinned"]);
  }

  async unfenceIsFinal(): Promise<void> {
    const call = this.#current();
    await this.#expectDone("unfence", this.#adapter.unfence(call, this.#signal), REMEDIES.accept);
    await this.#expectDone("unfence-repeated", this.#adapter.unfence(call, this.#signal), REMEDIES.repeat);
    await this.#expectRefused("late-fence-refused", this.#fence(call), REMEDIES.final);
    await this.#expectRefused("late-pin-refused", this.#adapter.pin(call, this.#signal), REMEDIES.final);
    await this.#expectRefused("late-retire-refused", this.#adapter.retire(call, this.#signal), REMEDIES.final);
    await this.#expectRefused("late-route-refused", this.#adapter.route(call, this.#signal), REMEDIES.final);
    await this.#expectRead("still-open", call, ["open"]);
  }

  async lowerIsRefused(): Promise<void> {
    const lower = this.#current();
    const call = this.#next();
    await this.#expectDone("higher-fence", this.#fence(call), REMEDIES.accept);
    await this.#expectRefused("lower-fence-refused", this.#fence(lower), REMEDIES.lower);
    await this.#expectRefused("lower-unfence-refused", this.#adapter.unfence(lower, this.#signal), REMEDIES.lower);
    await this.#expectRefused("lower-route-refused", this.#adapter.route(lower, this.#signal), REMEDIES.lower);
    await this.#expectRead("lower-changed-nothing", call, ["fenced"]);
    await this.#expectDone("higher-unfence", this.#adapter.unfence(call, this.#signal), REMEDIES.accept);
  }

  async unfenceBeforeFence(): Promise<void> {
    const call = this.#next();
    await this.#expectDone("early-unfence", this.#adapter.unfence(call, this.#signal), REMEDIES.early);
    await this.#expectRefused("fence-after-early-unfence-refused", this.#fence(call), REMEDIES.early);
  }

  async routeIsIdempotent(): Promise<void> {
    const call = this.#next();
    await this.#expectDone("fence-before-route", this.#fence(call), REMEDIES.accept);
    await this.#expectDone("route", this.#adapter.route(call, this.#signal), REMEDIES.accept);
    await this.#expectDone("route-repeated", this.#adapter.route(call, this.#signal), REMEDIES.repeat);
    await this.#expectRead("route-read-back", call, ["routed"]);
    await this.#expectRefused("fence-after-route-refused", this.#fence(call), REMEDIES.route);
    await this.#expectRefused("unfence-after-route-refused", this.#adapter.unfence(call, this.#signal), REMEDIES.route);
    // A cutover routes and then retires, often at one URL; one that a crash cut short repeats both.
    await this.#expectDone("retire-after-route", this.#adapter.retire(call, this.#signal), REMEDIES.retire);
    await this.#expectDone("route-after-retire-repeated", this.#adapter.route(call, this.#signal), REMEDIES.repeat);
  }

  async retireHolds(): Promise<void> {
    const call = this.#next();
    await this.#expectDone("fence-before-retire", this.#fence(call), REMEDIES.accept);
    await this.#expectDone("retire", this.#adapter.retire(call, this.#signal), REMEDIES.accept);
    await this.#expectDone("retire-repeated", this.#adapter.retire(call, this.#signal), REMEDIES.repeat);
    await this.#expectRead("retire-read-back", call, ["retired"]);
    await this.#expectRefused(
      "unfence-after-retire-refused",
      this.#adapter.unfence(call, this.#signal),
      REMEDIES.retire,
    );
    await this.#expectRefused("fence-after-retire-refused", this.#fence(this.#next()), REMEDIES.retire);
  }

  async leaveOpen(): Promise<void> {
    await this.#expectDone("route-lifts-retire", this.#adapter.route(this.#next(), this.#signal), REMEDIES.retire);
    const call = this.#next();
    await this.#expectDone("fence-after-route", this.#fence(call), REMEDIES.route);
    await this.#expectDone("left-open", this.#adapter.unfence(call, this.#signal), REMEDIES.accept);
  }

  get #adapter(): FenceAdapter & RouteAdapter {
    return this.#options.adapter;
  }

  get #signal(): AbortSignal {
    return this.#options.signal;
  }

  #next(): AdapterCall {
    this.#generation += 1;
    return this.#current();
  }

  #current(): AdapterCall {
    const { move, tenant, to } = this.#options;
    return { move, tenant, to, generation: this.#generation };
  }

  #fence(call: AdapterCall): Promise<AdapterOutcome> {
    return this.#adapter.fence({ ...call, expiresInMs: null }, this.#signal);
  }

  async #expectDone(id: string, outcome: Promise<AdapterOutcome>, remedy: string): Promise<void> {
    const got = await outcome;
    // An answer is asked for: a kit that let the read-back stand in would pass an adapter that never answers.
    if (got.kind === "done" && got.by === "answer") this.#checks.push(passed(id, say(got.reading)));
    else this.#checks.push(failed(id, `expected 200, got ${sayOutcome(got)}`, remedy));
  }

  async #expectRefused(id: string, outcome: Promise<AdapterOutcome>, remedy: string): Promise<void> {
    const got = await outcome;
    if (got.kind === "refused") this.#checks.push(passed(id, `409: ${got.reason}`));
    else this.#checks.push(failed(id, `expected 409, got ${sayOutcome(got)}`, remedy));
  }

  async #expectRead(id: string, call: AdapterCall, states: readonly string[]): Promise<void> {
    const got = await this.#adapter.read(call, this.#signal);
    const right =
      got.kind === "read" && got.reading.generation === call.generation && states.includes(got.reading.state);
    if (right) this.#checks.push(passed(id, say(got.reading)));
    else {
      const expected = `${states.join(" or ")} by generation ${call.generation}`;
      this.#checks.push(failed(id, `expected ${expected}, read ${sayRead(got)}`, REMEDIES.readBack));
    }
  }
}

function passed(id: string, finding: string): AdapterCheck {
  return { id, rule: RULE, verdict: "passed", finding, remedy: null };
}

function failed(id: string, finding: string, remedy: string): AdapterCheck {
  return { id, rule: RULE, verdict: "failed", finding, remedy };
}

function say(reading: AdapterReading): string {
  return `${reading.state} by generation ${reading.generation}`;
}

function sayRead(outcome: ReadOutcome): string {
  return outcome.kind === "read" ? say(outcome.reading) : `nothing: ${outcome.reason}`;
}

function sayOutcome(outcome: AdapterOutcome): string {
  if (outcome.kind === "done") return `${say(outcome.reading)} (${outcome.by})`;
  return `${outcome.kind}: ${outcome.reason}`;
}
