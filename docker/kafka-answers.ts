import { connect } from "node:net";

/**
 * Whether one of the brokers answers and counts itself, or another, as ready for work. Asked by hand (Metadata v1, no
 * topics) as the client would first retry, and log, on its own.
 */
export async function kafkaAnswers(brokers: readonly string[]): Promise<boolean> {
  for (const broker of brokers) {
    if ((await readyBrokers(broker)) > 0) return true;
  }
  return false;
}

const METADATA = 3;
const REQUEST = Buffer.alloc(18);
REQUEST.writeInt32BE(14, 0);
REQUEST.writeInt16BE(METADATA, 4);
REQUEST.writeInt16BE(1, 6);
REQUEST.writeInt32BE(1, 8);
REQUEST.writeInt16BE(-1, 12); // no client id
REQUEST.writeInt32BE(0, 14); // no topics

function readyBrokers(broker: string): Promise<number> {
  const colon = broker.lastIndexOf(":");
  return new Promise((resolve) => {
    const socket = connect({ host: broker.slice(0, colon), port: Number(broker.slice(colon + 1)), timeout: 3_000 });
    const end = (count: number) => {
      socket.destroy();
      resolve(count);
    };
    let answer = Buffer.alloc(0);
    socket.once("connect", () => socket.write(REQUEST));
    socket.on("data", (data: Buffer) => {
      answer = Buffer.concat([answer, data]);
      // Length, correlation id, then the number of brokers that are not fenced.
      if (answer.length >= 12) end(answer.readInt32BE(8));
    });
    socket.once("timeout", () => end(0));
    socket.once("error", () => end(0));
    socket.once("close", () => end(0));
  });
}
