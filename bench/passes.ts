import type { VerificationAnswer } from "./dray-api.ts";
import { type Product, sleep } from "./product.ts";

const LOOK_MS = 100;

/** Keeps a lane's rows being compared from end to end, one pass behind the other, until it is stopped. */
export class Passes {
  readonly #product: Product;
  readonly #path: string;
  #isWanted = true;
  readonly #running: Promise<void>;
  #compared = 0;
  #asked = 0;

  private constructor(product: Product, move: string, before: number) {
    this.#product = product;
    this.#path = `/v1/moves/${move}`;
    this.#running = this.#run(before);
    // Told by `stop`, which comes later.
    this.#running.catch(() => {});
  }

  static async start(product: Product, move: string): Promise<Passes> {
    const { lanes } = await product.api.get<VerificationAnswer>(`/v1/moves/${move}/verification`);
    return new Passes(product, move, rowsCompared(lanes));
  }

  /** Rows that were compared meanwhile, and how many passes were asked for. Throws where the product found a difference. */
  async stop(): Promise<{ readonly rows: number; readonly asked: number }> {
    this.#isWanted = false;
    await this.#running;
    return { rows: this.#compared, asked: this.#asked };
  }

  async #run(before: number): Promise<void> {
    const { api } = this.#product;
    while (this.#isWanted) {
      const { lanes, differences } = await api.get<VerificationAnswer>(`${this.#path}/verification`);
      if (differences.length > 0) throw new Error(`rows differ: ${JSON.stringify(differences.slice(0, 3))}`);
      this.#compared = rowsCompared(lanes) - before;
      if (lanes.every(({ passUnderWay }) => !passUnderWay)) {
        await api.post(`${this.#path}/verify`, {});
        this.#asked++;
      }
      await sleep(LOOK_MS);
    }
  }
}

function rowsCompared(lanes: VerificationAnswer["lanes"]): number {
  return lanes.reduce((sum, lane) => sum + lane.rowsCompared, 0);
}
