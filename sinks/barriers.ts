import { DrayError } from "../pipeline/errors.ts";

type Barrier = { readonly seq: number; readonly run: () => Promise<void>; readonly fail: (error: unknown) => void };

/** Places in the log where the applier stands still, everything before applied and nothing behind (V1). */
export class Barriers {
  readonly #waiting: Barrier[] = [];
  #ended: { readonly why: unknown } | null = null;

  add<T>(seq: number, callback: () => Promise<T>): Promise<T> {
    if (this.#ended) return Promise.reject(this.#ended.why);
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const run = () => callback().then(resolve, reject);
    this.#waiting.push({ seq, run, fail: reject });
    this.#waiting.sort((a, b) => a.seq - b.seq);
    return promise;
  }

  /** No entry from here on may be applied yet. */
  get first(): number {
    return this.#waiting[0]?.seq ?? Number.POSITIVE_INFINITY;
  }

  /** Runs what stands before entry `seq`; one whose entry went by already is refused. */
  async runBefore(seq: number): Promise<void> {
    while (this.first <= seq) {
      const barrier = this.#waiting.shift() as Barrier;
      if (barrier.seq < seq) barrier.fail(new DrayError("BARRIER_PASSED", { seq: barrier.seq, next: seq }));
      else await barrier.run();
    }
  }

  /** Nothing will be applied any more. */
  end(why: unknown): void {
    this.#ended = { why };
    for (const barrier of this.#waiting.splice(0)) barrier.fail(why);
  }
}
