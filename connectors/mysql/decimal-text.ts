/** The shortest text that reads back as this double; -0 keeps its sign. */
export function realText(value: number): string {
  return Object.is(value, -0) ? "-0" : String(value);
}

/** MySQL prints exponents in its own way; both roads end in `realText`. */
export function canonicalReal(raw: Uint8Array): Uint8Array {
  const text = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength).toString("latin1");
  return Buffer.from(realText(Number(text)), "latin1");
}

/**
 * Whether a number's text, read as a double and printed again, is the same number: JSON text is read back that way, so
 * a longer DECIMAL inside JSON cannot be carried by text.
 */
export function survivesDouble(text: string): boolean {
  const back = Number(text);
  return Number.isFinite(back) && digitsOf(String(back)) === digitsOf(text);
}

/** Sign, significant digits and power of ten, the same for 1.50, 15e-1 and 1.5. */
function digitsOf(text: string): string {
  const match = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?$/.exec(text);
  if (!match) return text;
  const [, sign, whole = "", fraction = "", exponent = "0"] = match;
  const all = whole + fraction;
  const digits = all.replace(/^0+/, "");
  const trimmed = digits.replace(/0+$/, "");
  if (trimmed === "") return "0";
  return `${sign}${trimmed}e${Number(exponent) - fraction.length + (digits.length - trimmed.length)}`;
}
