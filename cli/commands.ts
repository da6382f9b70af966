import type { Command } from "./command.ts";

type Load = () => Promise<{ readonly default: Command }>;

/** In the order of the help: as a move goes. Only the verb that was asked for is loaded. */
export const COMMANDS: Readonly<Record<string, Load>> = {
  serve: () => import("./serve.ts"),
  "config check": () => import("./config-check.ts"),
  "config schema": () => import("./config-schema.ts"),
  "manifest init": () => import("./manifest-init.ts"),
  "manifest check": () => import("./manifest-check.ts"),
  "manifest schema": () => import("./manifest-schema.ts"),
  "adapter test": () => import("./adapter-test.ts"),
  preflight: () => import("./preflight.ts"),
  start: () => import("./start.ts"),
  list: () => import("./list.ts"),
  status: () => import("./status.ts"),
  verify: () => import("./verify.ts"),
  cutover: () => import("./cutover.ts"),
  rollback: () => import("./rollback.ts"),
  pause: () => import("./pause.ts"),
  resume: () => import("./resume.ts"),
  retry: () => import("./retry.ts"),
  skip: () => import("./skip.ts"),
  recopy: () => import("./recopy.ts"),
  resolve: () => import("./resolve.ts"),
  abort: () => import("./abort.ts"),
  close: () => import("./close.ts"),
  finish: () => import("./finish.ts"),
  journal: () => import("./journal.ts"),
  log: () => import("./log.ts"),
  evidence: () => import("./evidence.ts"),
};

export const GROUPS: Readonly<Record<string, string>> = {
  config: "The server's configuration.",
  manifest: "What any tenant of a system consists of.",
  adapter: "The application's side of a cutover.",
};

/** The name of the command that these words begin with; null for help, the version, and what does not exist. */
export function commandNamed(words: readonly string[]): string | null {
  const [first = "", second = ""] = words;
  return [`${first} ${second}`, first].find((name) => COMMANDS[name] !== undefined) ?? null;
}
