import { Command as Commander, Option } from "commander";
import type { Command } from "./command.ts";
import { COMMANDS, commandNamed, GROUPS } from "./commands.ts";
import { productVersion } from "./version.ts";

export type Invocation = {
  readonly definition: Command;
  readonly json: boolean;
  readonly dataDir: string;
  /** As the command line has it, by the names of the command's options: text, or true for a flag. */
  readonly given: Readonly<Record<string, unknown>>;
};

export type ProgramOptions = {
  readonly argv: readonly string[];
  readonly run: (invocation: Invocation) => Promise<void>;
  readonly writeOut: (text: string) => void;
  readonly writeErr: (text: string) => void;
};

const EXIT_CODES = `
Exit codes: 0 done, 1 failed, 2 usage, 3 refused by gate or preflight, 4 held by another operator, 5 needs a person`;

/** The command line as commander knows it. The verb that was asked for is loaded; all of them where none was. */
export async function programFor(options: ProgramOptions): Promise<Commander> {
  const { argv, writeOut, writeErr } = options;
  const program = new Commander("dray");
  program
    .description("Moves one tenant of a live multi-tenant system between clusters.")
    .version(productVersion(), "-V, --version")
    .exitOverride()
    .configureOutput({ writeOut, writeErr })
    .addHelpText("after", EXIT_CODES);
  const groups = new Map<string, Commander>();
  const groupOf = (name: string): Commander => {
    const known = groups.get(name);
    if (known !== undefined) return known;
    const group = program.command(name).description(GROUPS[name] ?? "");
    groups.set(name, group);
    return group;
  };
  const chosen = commandNamed(argv);
  for (const [name, load] of Object.entries(COMMANDS)) {
    const words = name.split(" ");
    const parent = words.length > 1 ? groupOf(words[0] ?? "") : program;
    const added = parent.command(words.at(-1) ?? name);
    // The others are there for suggestions only.
    if (chosen === null || chosen === name) define(added, (await load()).default, options.run);
  }
  return program;
}

function define(added: Commander, definition: Command, run: ProgramOptions["run"]): void {
  added
    .description(definition.summary)
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
    for (const [index, name] of positional.entries()) {
      if (parts[index] !== undefined) given[name] = parts[index];
    }
    for (const [name, attribute] of attributes) {
      if (all[attribute] !== undefined) given[name] = all[attribute];
    }
    await run({ definition, json: all["json"] === true, dataDir: String(all["dataDir"]), given });
  });
}
