/** What the demo tells people, on stderr: one line each, in order, with minutes and seconds since it began. */
export class Narrator {
  readonly #beganAtMs = performance.now();
  readonly #write: (line: string) => void;
  #parts = 0;

  constructor(options: { readonly write: (line: string) => void }) {
    this.#write = options.write;
  }

  /** A new part of the demo, numbered. */
  readonly part = (text: string): void => {
    this.#line(`${++this.#parts}. ${text}`);
  };

  /** What happens within the part. */
  readonly say = (text: string): void => {
    for (const line of text.split("\n")) this.#line(`   ${line}`);
  };

  #line(text: string): void {
    const seconds = Math.floor((performance.now() - this.#beganAtMs) / 1000);
    this.#write(`${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}  ${text}`);
  }
}

export const count = (value: number): string => Math.round(value).toLocaleString("en");
