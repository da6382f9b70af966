import { hostname, userInfo } from "node:os";
import { CommanderError } from "commander";
import { ApiClient } from "./api-client.ts";
import { type CommandContext, type CommandResult, EXIT, type ExitCode } from "./command.ts";
import { errorOutcome } from "./error-outcome.ts";
import { findServer } from "./find-server.ts";
import { type Invocation, programFor } from "./program.ts";
import { processTerminal, type Terminal } from "./terminal.ts";
import { UsageError } from "./usage-error.ts";

/** What the command line is run with; the process's own unless a test says otherwise. */
export type CliIo = {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly terminal: Terminal;
  /** A line on stdout. */
  readonly print: (line: string) => void;
};

const processIo: CliIo = {
  env: process.env,
  terminal: processTerminal,
  print: (line) => void process.stdout.write(`${line}\n`),
};

/** `dray …`: resolves with the exit code. With `--json` there is one line of JSON on stdout, whatever happens. */
export async function main(argv: string[], io: CliIo = processIo): Promise<number> {
  const interrupted = new AbortController();
  const interrupt = (): void => interrupted.abort(new Error("interrupted"));
  process.once("SIGINT", interrupt);
  process.once("SIGTERM", interrupt);
  let exitCode: ExitCode = EXIT.done;
  try {
    const program = await programFor({
      argv,
      writeOut: (text) => io.print(text.trimEnd()),
      writeErr: (text) => io.terminal.say(text.trimEnd()),
      run: async (invocation) => {
        exitCode = await run(invocation, io, interrupted.signal);
      },
    });
    await program.parseAsync(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help and version were asked for; all else is a wrong command line, and commander has said what is wrong.
    exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
    if (exitCode === EXIT.usage && argv.includes("--json")) {
      io.print(JSON.stringify({ error: errorOutcome(new UsageError(error.message)).json }));
    }
  } finally {
    process.removeListener("SIGINT", interrupt);
    process.removeListener("SIGTERM", interrupt);
  }
  return exitCode;
}

async function run(
  { definition, json, dataDir, given }: Invocation,
  io: CliIo,
  signal: AbortSignal,
): Promise<ExitCode> {
  const { env, terminal, print } = io;
  try {
    const parsed = definition.options.safeParse(given);
    if (!parsed.success) {
      const wrong = parsed.error.issues.map((issue) => {
        const name = String(issue.path[0]);
        return `${definition.flags[name] ?? name}: ${given[name] === undefined ? "is needed" : issue.message}`;
      });
      throw new UsageError(wrong.join("\n"));
    }
    const api = new ApiClient({ address: findServer({ env, dataDir }), operator: operatorName(), signal });
    const context: CommandContext = { api, terminal, json, dataDir, env, print, signal };
    return show(await definition.run(context, parsed.data), { json, print });
  } catch (error) {
    if (signal.aborted) {
      terminal.say("interrupted; what the server does goes on");
      return EXIT.failed;
    }
    const outcome = errorOutcome(error);
    if (json) print(JSON.stringify({ error: outcome.json }));
    else terminal.say(outcome.lines.join("\n"));
    return outcome.exitCode;
  }
}

function show(result: CommandResult, { json, print }: Pick<CommandContext, "json" | "print">): ExitCode {
  if (json) {
    if (result.json !== undefined) print(JSON.stringify(result.json));
  } else {
    for (const line of result.lines) print(line);
    if (result.next.length > 0) print(`next: ${result.next.join("\n      ")}`);
  }
  return result.exitCode ?? EXIT.done;
}

function operatorName(): string {
  try {
    return `${userInfo().username}@${hostname()}`;
  } catch {
    return `unknown@${hostname()}`;
  }
}
