import { hostname, userInfo } from "node:os";
import { Command as Commander, CommanderError, Option } from "commander";
import { ApiClient } from "./api-client.ts";
import { type Command, type CommandContext, type CommandResult, EXIT, type ExitCode } from "./command.ts";
import { COMMANDS, GROUPS } from "./commands.ts";
import { errorOutcome } from "./error-outcome.ts";
import { findServer } from "./find-server.ts";
import { processTerminal } from "./terminal.ts";
import { UsageError } from "./usage-error.ts";
import { productVersion } from "./version.ts";

type Globals = { readonly json?: true; readonly dataDir: string };

/** `dray …`: resolves with the exit code. One line of JSON on stdout with `--json`, whatever happens. */
export async function main(argv: string[]): Promise<number> {
  const interrupted = new AbortController();
  const interrupt = (): void => interrupted.abort(new Error("interrupted"));
  process.once("SIGINT", interrupt);
  process.once("SIGTERM", interrupt);
  let exitCode: number = EXIT.done;
  const program = programOf((code) => {
    exitCode = code;
  }, interrupted.signal);
  try {
    await program.parseAsync(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help and version were asked for; all else is a wrong command line.
    exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
    if (exitCode === EXIT.usage && argv.includes("--json"))
      print(JSON.stringify({ error: { code: "USAGE", message: error.message } }));
  } finally {
    process.removeListener("SIGINT", interrupt);
    process.removeListener("SIGTERM", interrupt);
  }
  return exitCode;
}

function programOf(setExitCode: (code: ExitCode) => void, signal: AbortSignal): Commander {
  const program = new Commander("dray")
    .description("Moves one tenant of a live multi-tenant system between clusters.")
    .version(productVersion(), "-V, --version")
    .exitOverride()
    .showSuggestionAfterError()
    .configureHelp({ showGlobalOptions: true })
    .addHelpText(
      "after",
      "\nExit codes: 0 done, 1 failed, 2 usage, 3 refused by gate or preflight, 4 held by another operator, 5 needs a person",
    );
  const groups = new Map<string, Commander>();
  for (const [name, summary] of Object.entries(GROUPS)) {
    const group = program.command(name).description(summary).exitOverride();
    groups.set(name, group);
  }
  for (const definition of COMMANDS) {
    const words = definition.name.split(" ");
    const parent = words.length > 1 ? groups.get(words[0] ?? "") : program;
    if (parent === undefined) throw new Error(`no group for the command ${definition.name}`);
    addCommand(parent, definition, async (globals, given) => {
      setExitCode(await runCommand(definition, globals, given, signal));
    });
  }
  return program;
}

type Action = (globals: Globals, given: Readonly<Record<string, unknown>>) => Promise<void>;

function addCommand(parent: Commander, definition: Command, act: Action): void {
  const added = parent
    .command(definition.name.split(" ").at(-1) ?? "")
    .description(definition.summary)
    .exitOverride()
    .option("--json", "one line of JSON on stdout")
    .option("--data-dir <folder>", "the server's folder, with its socket", "./dray-data");
  const positional: string[] = [];
  const attributes = new Map<string, string>();
  for (const [name, flag] of Object.entries(definition.flags)) {
    const description = definition.options.shape[name]?.description ?? "";
    if (flag.startsWith("-")) {
      const option = new Option(flag, description);
      attributes.set(name, option.attributeName());
      added.addOption(option);
    } else {
      positional.push(name);
      added.argument(flag, description);
    }
  }
  added.action(async (...parts: unknown[]) => {
    const all = added.opts<Record<string, unknown>>();
    const given: Record<string, unknown> = {};
    positional.forEach((name, index) => {
      if (parts[index] !== undefined) given[name] = parts[index];
    });
    for (const [name, attribute] of attributes) {
      if (all[attribute] !== undefined) given[name] = all[attribute];
    }
    await act({ dataDir: String(all["dataDir"]), ...(all["json"] === true ? { json: true } : {}) }, given);
  });
}

async function runCommand(
  definition: Command,
  globals: Globals,
  given: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<ExitCode> {
  const json = globals.json === true;
  try {
    const parsed = definition.options.safeParse(given);
    if (!parsed.success) {
      const wrong = parsed.error.issues.map((issue) => {
        const flag = definition.flags[String(issue.path[0])] ?? "";
        return `${flag}: ${given[String(issue.path[0])] === undefined ? "is needed" : issue.message}`;
      });
      throw new UsageError(wrong.join("\n"));
    }
    const { dataDir } = globals;
    const api = new ApiClient({ address: findServer({ env: process.env, dataDir }), operator: operatorName(), signal });
    const context: CommandContext = { api, terminal: processTerminal, json, dataDir, env: process.env, print, signal };
    return show(await definition.run(context, parsed.data), json);
  } catch (error) {
    if (signal.aborted) {
      process.stderr.write("interrupted; what the server does goes on\n");
      return EXIT.failed;
    }
    const outcome = errorOutcome(error);
    if (json) print(JSON.stringify({ error: outcome.json }));
    else process.stderr.write(`${outcome.lines.join("\n")}\n`);
    return outcome.exitCode;
  }
}

function show(result: CommandResult, json: boolean): ExitCode {
  if (json) {
    if (result.json !== undefined) print(JSON.stringify(result.json));
  } else {
    for (const line of result.lines) print(line);
    if (result.next.length > 0) print(`next: ${result.next.join("\n      ")}`);
  }
  return result.exitCode ?? EXIT.done;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function operatorName(): string {
  try {
    return `${userInfo().username}@${hostname()}`;
  } catch {
    return `unknown@${hostname()}`;
  }
}
