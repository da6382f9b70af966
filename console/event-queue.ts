/**
 * Events that are called in, read as a stream that ends with a last item. Nothing is lost and nothing waits for the
 * reader: a cutover never stands because somebody's terminal does.
 */
export class EventQueue<Item> implements AsyncIterable<Item> {
  readonly #items: Item[] = [];
  #wake: (() => void) | null = null;
  #end: { readonly failure: unknown } | null = null;

  push(item: Item): void {
    this.#items.push(item);
    this.#wake?.();
  }

  /** No failure: the stream ends after what was pushed. */
  end(failure: unknown = null): void {
    this.#end ??= { failure };
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Item> {
    for (;;) {
      const item = this.#items.shift();
      if (item !== undefined) {
        yield item;
      } else if (this.#end !== null) {
        if (this.#end.failure !== null) throw this.#end.failure;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = null;
      }
    }
  }
}
