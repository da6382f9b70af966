import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";

/** A process of the bench that is not the bench: it gets its settings and sends messages, each an object with `type`. */
export interface Child {
  readonly process: ChildProcess;
  /** The first message of that type; rejects where the process ends before. */
  message<T>(type: string): Promise<T>;
  /** SIGTERM; resolves when it has ended. */
  stop(): Promise<void>;
}

export function startChild(file: `./${string}.ts`, settings: object): Child {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), {
    env: { ...process.env, BENCH_SETTINGS: JSON.stringify(settings) },
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const received = new Map<string, unknown>();
  const waiting = new Map<string, PromiseWithResolvers<unknown>>();
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.on("message", (message: { readonly type: string }) => {
    received.set(message.type, message);
    waiting.get(message.type)?.resolve(message);
  });
  child.once("exit", (code, signal) => {
    for (const { reject } of waiting.values()) reject(new Error(`${file} ended (${code ?? signal})`));
  });
  return {
    process: child,
    async message<T>(type: string): Promise<T> {
      if (received.has(type)) return received.get(type) as T;
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`${file} ended without ${type}`);
      const promise = waiting.get(type) ?? Promise.withResolvers<unknown>();
      waiting.set(type, promise);
      return (await promise.promise) as T;
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGTERM");
      await exited;
    },
  };
}

/** In the child: what it was started with. */
export function settings<T>(): T {
  return JSON.parse(process.env["BENCH_SETTINGS"] ?? "{}") as T;
}

export function tell(message: { readonly type: string } & Readonly<Record<string, unknown>>): void {
  process.send?.(message);
}
