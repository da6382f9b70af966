import { createInterface } from "node:readline/promises";

/** Where a command talks to a person. Results go to stdout by `main` alone; everything here goes to stderr. */
export interface Terminal {
  /** A person sits there: questions can be asked, and a line can be drawn over. */
  readonly interactive: boolean;
  say(line: string): void;
  ask(question: string): Promise<string>;
}

export const processTerminal: Terminal = {
  get interactive() {
    return process.stdin.isTTY === true && process.stderr.isTTY === true;
  },
  say: (line) => void process.stderr.write(`${line}\n`),
  async ask(question) {
    const lines = createInterface({ input: process.stdin, output: process.stderr });
    try {
      return await lines.question(question);
    } finally {
      lines.close();
    }
  },
};
