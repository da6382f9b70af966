// A process of its own with the product inside, which dies by SIGKILL at a named place. Driven over IPC.
import { writeSync } from "node:fs";
import type { CutoverRequest, FinishRequest, VerifyRequest } from "../../cutover/move-service.ts";
import type { ServerConfig } from "../../cutover/server-settings.ts";
import { isDrayError } from "../../pipeline/errors.ts";
import type { ProbeName } from "../../pipeline/probe.ts";
import { LocalDriver } from "../whole/world/driver.ts";

export type ChildOptions = {
  readonly config: ServerConfig;
  readonly manifest: string;
  /** Null: it lives until it is told to end. */
  readonly dieAt: { readonly place: ProbeName; readonly hit: number } | null;
};

export type ChildRequest = {
  readonly id: number;
  /** Without it, the one that most tests have. */
  readonly move?: string;
} & (
  | { readonly verb: "start"; readonly tenant: string }
  | { readonly verb: "cutover" | "rollback"; readonly request: Partial<CutoverRequest> }
  | { readonly verb: "finish"; readonly request: Partial<FinishRequest> }
  | { readonly verb: "recopy"; readonly table: string | null }
  | { readonly verb: "resolve"; readonly owner: "from" | "to" }
  | { readonly verb: "verify"; readonly request: Partial<VerifyRequest> }
  | { readonly verb: "status" | "verification" | "end" }
  | { readonly verb: "pause" | "resume" | "retry" | "abort" | "close" }
);

export type ChildAnswer = {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: { readonly code: string | null; readonly message: string };
};

const { config, manifest, dieAt } = JSON.parse(process.argv[2] ?? "{}") as ChildOptions;
let hits = 0;

const product = await LocalDriver.open({
  config,
  manifest,
  probe: (name) => {
    if (name !== dieAt?.place || ++hits < dieAt.hit) return;
    // Written at once: nothing of this process runs behind the kill.
    writeSync(1, `reached ${name}\n`);
    process.kill(process.pid, "SIGKILL");
  },
});

process.on("message", (request: ChildRequest) => {
  answer(request).then(
    (value) => process.send?.({ id: request.id, value: value ?? null } satisfies ChildAnswer),
    (error: unknown) => {
      const code = isDrayError(error) ? error.code : null;
      process.send?.({ id: request.id, error: { code, message: String(error) } } satisfies ChildAnswer);
    },
  );
});
process.on("disconnect", () => process.kill(process.pid, "SIGKILL"));
process.send?.({ id: 0 } satisfies ChildAnswer);

async function answer(request: ChildRequest): Promise<unknown> {
  const driver = request.move === undefined ? product : product.named(request.move);
  switch (request.verb) {
    case "start":
      return await driver.start(request.tenant);
    case "status":
      return await driver.status();
    case "cutover":
      return await driver.cutover(request.request);
    case "rollback":
      return await driver.rollback(request.request);
    case "finish":
      return await driver.finish(request.request);
    case "recopy":
      return await driver.recopy(request.table);
    case "resolve":
      return await driver.resolve(request.owner);
    case "verify":
      return await driver.verify(request.request);
    case "verification":
      return await driver.verification();
    case "end":
      process.disconnect();
      return null;
    default:
      return await driver.act(request.verb);
  }
}
