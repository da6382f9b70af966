import type { z } from "zod";
import type { ApiClient } from "./api-client.ts";
import type { Terminal } from "./terminal.ts";

export const EXIT = { done: 0, failed: 1, usage: 2, refused: 3, held: 4, person: 5 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export type CommandContext = {
  readonly api: ApiClient;
  readonly terminal: Terminal;
  /** `--json`: nothing but one line of JSON goes to stdout; a command that streams gives one a line. */
  readonly json: boolean;
  readonly dataDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Writes to stdout at once, for what is long or has no end. */
  readonly print: (line: string) => void;
  /** Ctrl-C. */
  readonly signal: AbortSignal;
};

export type CommandResult = {
  /** For people. */
  readonly lines: readonly string[];
  /** The whole answer for programs; undefined where everything was printed as it came. */
  readonly json: unknown;
  /** Commands that make sense now. */
  readonly next: readonly string[];
  readonly exitCode?: ExitCode;
};

export type CommandDefinition<Options extends z.ZodObject> = {
  /** `cutover`, `manifest check`. */
  readonly name: string;
  readonly summary: string;
  /** What arrives is text, or true for a flag: schemas coerce. Descriptions become the help. */
  readonly options: Options;
  /** How each option is written: `<move>` and `[file]` are arguments, `--tenant <key>` and `--yes` are flags. */
  readonly flags: { readonly [Name in keyof z.output<Options>]: string };
  /** Talks to the API only; a thrown ApiError prints its own remedy and chooses the exit code. */
  run(context: CommandContext, options: z.output<Options>): Promise<CommandResult>;
};

/** A command that has forgotten its own options, so that all of them fit in one list. */
export type Command = CommandDefinition<z.ZodObject>;

export function command<Options extends z.ZodObject>(definition: CommandDefinition<Options>): Command {
  return definition as unknown as Command;
}
