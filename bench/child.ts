import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
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
  let isOver = false;
  child.on("message", (message: { readonly type: string }) => {
    received.set(message.type, message);
    waiting.get(message.type)?.resolve(message);
  });
  // Its last words may come behind its exit.
  const over = Promise.all([once(child, "exit"), once(child, "disconnect")]).then(([[code, signal]]) => {
    isOver = true;
    for (const { reject } of waiting.values()) reject(new Error(`${file} ended (${code ?? signal})`));
  });
  return {
    process: child,
    async message<T>(type: string): Promise<T> {
      if (received.has(type)) return received.get(type) as T;
      if (isOver) throw new Error(`${file} ended without ${type}`);
      const promise = waiting.get(type) ?? Promise.withResolvers<unknown>();
      waiting.set(type, promise);
      return (await promise.promise) as T;
    },
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
      await over;
    },
  };
}

/** In the child: what it was started with. */
export function settings<T>(): T {
  return JSON.parse(process.env["BENCH_SETTINGS"] ?? "{}") as T;
}

/** Resolves once it is on its way: a process that ends before takes it along. */
export function tell(message: { readonly type: string } & Readonly<Record<string, unknown>>): Promise<void> {
  return new Promise((resolve, reject) => {
    if (process.send === undefined) return resolve();
    process.send(message, undefined, undefined, (error) => (error === null ? resolve() : reject(error)));
  });
}
