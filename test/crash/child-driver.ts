import { type ChildProcess, spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type {
  CutoverRequest,
  CutoverResult,
  FinishRequest,
  FinishResult,
  MoveStatus,
  VerificationReport,
  VerifyRequest,
} from "../../cutover/move-service.ts";
import type { Driver } from "../whole/world/driver.ts";
import type { ChildAnswer, ChildOptions, ChildRequest } from "./serve-child.ts";

/** Dozens of processes read the same modules. */
const COMPILED = join(tmpdir(), `dray-crash-compiled-${process.pid}`);
process.once("exit", () => rmSync(COMPILED, { recursive: true, force: true }));

/** The answer will never come: the process is gone. */
export class ChildDied extends Error {}

type Draft<T> = T extends { readonly id: number } ? Omit<T, "id" | "move"> : never;

/** The product in a process of its own, which may die at any call. */
export class ChildDriver implements Driver {
  readonly #process: ServeProcess;
  readonly #move: string | null;

  constructor(options: ChildOptions | { readonly process: ServeProcess; readonly move: string }) {
    this.#process = "process" in options ? options.process : new ServeProcess(options);
    this.#move = "process" in options ? options.move : null;
  }

  /** The same process, for another of its moves. */
  named(move: string): ChildDriver {
    return new ChildDriver({ process: this.#process, move });
  }

  /** Resolves once every move has been taken up; ChildDied where it died before that. */
  async ready(): Promise<void> {
    await this.#process.ready();
  }

  /** The place at which it died by its own hand, once it has ended. */
  async diedAt(): Promise<string | null> {
    return await this.#process.diedAt();
  }

  get isAlive(): boolean {
    return this.#process.isAlive;
  }

  async kill(): Promise<void> {
    await this.#process.kill();
  }

  async start(tenant: string): Promise<void> {
    await this.#ask({ verb: "start", tenant });
  }

  async status(): Promise<MoveStatus> {
    return (await this.#ask({ verb: "status" })) as MoveStatus;
  }

  async cutover(request: Partial<CutoverRequest> = {}): Promise<CutoverResult> {
    return (await this.#ask({ verb: "cutover", request })) as CutoverResult;
  }

  async rollback(request: Partial<CutoverRequest> = {}): Promise<CutoverResult> {
    return (await this.#ask({ verb: "rollback", request })) as CutoverResult;
  }

  async finish(request: Partial<FinishRequest> = {}): Promise<FinishResult> {
    return (await this.#ask({ verb: "finish", request })) as FinishResult;
  }

  async act(verb: "pause" | "resume" | "retry" | "abort" | "close"): Promise<void> {
    await this.#ask({ verb });
  }

  async recopy(table: string | null): Promise<void> {
    await this.#ask({ verb: "recopy", table });
  }

  async resolve(owner: "from" | "to"): Promise<void> {
    await this.#ask({ verb: "resolve", owner });
  }

  async verify(request: Partial<VerifyRequest> = {}): Promise<void> {
    await this.#ask({ verb: "verify", request });
  }

  async verification(): Promise<VerificationReport> {
    return (await this.#ask({ verb: "verification" })) as VerificationReport;
  }

  #ask(request: Draft<ChildRequest>): Promise<unknown> {
    return this.#process.ask(this.#move === null ? request : { ...request, move: this.#move });
  }
}

class ServeProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  readonly #ended: Promise<NodeJS.Signals | null>;
  #last = 0;
  #output = "";

  constructor(options: ChildOptions) {
    const script = new URL("./serve-child.ts", import.meta.url).pathname;
    const flags = ["--disable-warning=ExperimentalWarning"];
    this.#child = spawn(process.execPath, [...flags, script, JSON.stringify(options)], {
      env: { ...process.env, NODE_COMPILE_CACHE: COMPILED },
      stdio: ["ignore", "pipe", "inherit", "ipc"],
    });
    this.#waiting.set(0, Promise.withResolvers());
    this.#child.stdout?.on("data", (data: Buffer) => {
      this.#output += data.toString();
    });
    this.#child.on("message", ({ id, value, error }: ChildAnswer) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(value);
      else waiting?.reject(Object.assign(new Error(error.message), { code: error.code }));
    });
    this.#ended = new Promise((resolve) => {
      this.#child.once("close", (_code, signal) => {
        for (const waiting of this.#waiting.values()) waiting.reject(new ChildDied(`the child ended by ${signal}`));
        this.#waiting.clear();
        resolve(signal);
      });
    });
  }

  async ready(): Promise<void> {
    await this.#waiting.get(0)?.promise;
  }

  async diedAt(): Promise<string | null> {
    const signal = await this.#ended;
    const reached = /^reached (.*)$/m.exec(this.#output)?.[1] ?? null;
    return signal === "SIGKILL" ? reached : null;
  }

  get isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  ask(request: Draft<ChildRequest> & { readonly move?: string }): Promise<unknown> {
    if (!this.#child.connected) throw new ChildDied("the child has ended");
    const id = ++this.#last;
    const waiting = Promise.withResolvers<unknown>();
    waiting.promise.catch(() => {});
    this.#waiting.set(id, waiting);
    this.#child.send({ ...request, id } as ChildRequest, (error) => {
      if (error) waiting.reject(new ChildDied(error.message));
    });
    return waiting.promise;
  }
}
