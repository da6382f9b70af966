import { resolve } from "node:path";
import { z } from "zod";
import type { Evidence } from "../cutover/move-service.ts";
import { command } from "./command.ts";
import { jsonText, requireFree, SUMS, sha256Of, sumsText, type WrittenFile, writeFolder } from "./evidence-folder.ts";
import { evidencePage } from "./evidence-page.ts";
import { moveArgument, movePath } from "./move-argument.ts";

/** Each part of the answer, and the file that it becomes. */
const FILES: Readonly<Record<keyof Evidence["parts"], string>> = {
  manifest: "manifest.json",
  preflight: "preflight.json",
  journal: "journal.json",
  cutovers: "cutovers.json",
  verification: "verification.json",
  fenceProof: "fence-proof.json",
  tables: "tables.json",
  people: "people.json",
  versions: "versions.json",
};
const PAGE = "evidence.html";

export default command({
  name: "evidence",
  summary: "Writes a folder that tells all of the move afterwards, each part with its sha256, and a page to read it.",
  options: z.object({
    move: moveArgument,
    out: z.string().min(1).optional().describe("The folder to make; evidence-MOVE-TIME here where absent"),
  }),
  flags: { move: "<move>", out: "--out <folder>" },
  async run({ api }, { move, out }) {
    if (out !== undefined) requireFree(resolve(out));
    const evidence = await api.get<Evidence>(movePath(move, "/evidence"));
    const folder = resolve(out ?? defaultName(evidence));
    requireFree(folder);
    const { texts, files } = evidenceFiles(evidence);
    writeFolder(folder, texts);
    const sums = sha256Of(texts.get(SUMS) ?? "");
    return {
      lines: [
        `wrote ${folder}`,
        ...files.map(({ file, sha256 }) => `  ${sha256}  ${file}`),
        `  ${sums}  ${SUMS}, which names them all: note it where nobody changes it`,
      ],
      json: { folder, files, sums: { file: SUMS, sha256: sums } },
      next: [`cd ${folder} && sha256sum -c ${SUMS}`],
    };
  },
});

/** Everything that goes into the folder, and what is said of each file. */
export function evidenceFiles(evidence: Evidence): {
  readonly texts: ReadonlyMap<string, string>;
  readonly files: readonly WrittenFile[];
} {
  const texts = new Map<string, string>();
  for (const [part, file] of Object.entries(FILES)) {
    texts.set(file, jsonText(evidence.parts[part as keyof Evidence["parts"]]));
  }
  texts.set(PAGE, evidencePage(evidence, written(texts)));
  const files = written(texts);
  texts.set(SUMS, sumsText(files));
  return { texts, files };
}

function written(texts: ReadonlyMap<string, string>): readonly WrittenFile[] {
  return [...texts]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([file, text]) => ({ file, sha256: sha256Of(text), bytes: Buffer.byteLength(text) }));
}

/** The moment that the server names, without characters that a file's name may not have. */
export function defaultName({ move, madeAtMs }: Evidence): string {
  return `evidence-${move}-${new Date(madeAtMs).toISOString().replaceAll(/[-:]|\.\d+/g, "")}`;
}
