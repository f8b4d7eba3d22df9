// Runs the stock Fluvio client for Node for a test: reads a JSON command a line, writes JSON answers a line.
//
// It speaks as driver.py does, with the same names, as far as this client goes. It loads the package's native module
// itself: the thin TypeScript wrapper around it is not compiled in the package. Starting it and limits of time are client.py's.

"use strict";

const path = require("path");
const readline = require("readline");

const platform = process.platform === "darwin" ? "darwin" : "linux";
const native = require(path.join(process.env.STOCK, "node_modules/@fluvio/client/dist", platform, "index.node"));

class Unsupported extends Error {}

function emit(answer) {
  process.stdout.write(JSON.stringify(answer) + "\n");
}

// The client says that it takes an ArrayBuffer and takes a Buffer; an empty one ends it, so text goes as text.
function bytes(text) {
  return /^[\x00-\x7f]*$/.test(text ?? "") ? (text ?? "") : Buffer.from(text, "latin1");
}

function text(buffer) {
  return buffer === null ? null : Buffer.from(buffer).toString("latin1");
}

function json(buffer) {
  return JSON.parse(Buffer.from(buffer).toString("utf8"));
}

// The client shows neither offset nor timestamp of a record.
function record(item) {
  return { offset: -1, key: item.hasKey() ? text(item.key()) : null, value: text(item.value()), timestamp: -1 };
}

function refuse(options) {
  const given = Object.keys(options).filter((name) => options[name] !== undefined);
  if (given.length) throw new Unsupported(`no ${given.join(", ")}`);
}

function offset(given = "beginning") {
  const [kind, number = 0] = Array.isArray(given) ? given : [given];
  if (kind === "absolute") throw new Unsupported("no absolute offsets");
  return { index: number, from: kind.replace("from_", "") };
}

let fluvio = null;
let admin = null;
const producers = new Map();
const streams = new Map();

async function adminOf() {
  admin ??= await fluvio.admin();
  return admin;
}

async function producerOf(topic, config) {
  refuse({ config });
  if (!producers.has(topic)) producers.set(topic, await fluvio.topicProducer(topic));
  return producers.get(topic);
}

async function* read({ topic, partitions = [0], offset: from, max_bytes, smartmodules, ...others }) {
  refuse(others);
  if (partitions.length !== 1) throw new Unsupported("no consumer of several partitions: name one");
  const consumer = await fluvio.partitionConsumer(topic, partitions[0]);
  let stream;
  if (smartmodules || max_bytes !== undefined) {
    const [module = {}] = smartmodules ?? [];
    const config = { smartmoduleType: module.kind ?? "filter" };
    if (max_bytes !== undefined) config.maxBytes = max_bytes;
    if (module.name !== undefined) config.smartmoduleName = module.name;
    if (module.path !== undefined) config.smartmoduleFile = module.path;
    stream = await consumer.streamWithConfig(offset(from), config);
  } else {
    stream = await consumer.createStream(offset(from));
  }
  yield null; // it is open
  for (;;) {
    const { value, done } = await stream.next();
    if (done) return;
    yield value;
  }
}

async function opened(how) {
  const stream = read(how);
  await stream.next();
  return stream;
}

async function take(stream, count, use) {
  if (stream === undefined) throw new Error("no such stream is open");
  let seen = 0;
  while (seen < count) {
    const { value, done } = await stream.next();
    if (done) break;
    use(value);
    seen += 1;
  }
  return seen;
}

const now = () => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6)); // nanoseconds of the day's time
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, Math.max(0, milliseconds)));

const commands = {
  async about() {
    const methods = Object.fromEntries(
      Object.keys(native).map((name) => [name, Object.getOwnPropertyNames(native[name].prototype)]),
    );
    return { node: process.version, has: Object.getOwnPropertyNames(native), methods };
  },
  async connect({ endpoint, profile, ...others }) {
    refuse(others);
    if (profile !== undefined && profile !== "home") process.env.FLV_PROFILE_PATH = profile;
    fluvio = await (profile === undefined ? native.connect(endpoint) : native.connect());
    admin = null;
    producers.clear();
    return "connected";
  },
  async create_topic({ name, partitions = 1, replication = 1, ignore_rack = true, assignment, ...others }) {
    refuse(others);
    const spec = assignment
      ? { maps: assignment.map(([id, replicas]) => ({ id, replicas })) }
      : { partitions, replicationFactor: replication, ignoreRackAssignment: ignore_rack };
    await (await adminOf()).createTopic(name, spec);
    return null;
  },
  async delete_topic({ name }) {
    await (await adminOf()).deleteTopic(name);
    return null;
  },
  async list_topics({ filters }) {
    refuse({ filters });
    return json(await (await adminOf()).listTopic()).map((topic) => topic.name);
  },
  async list_partitions({ filters }) {
    refuse({ filters });
    return json(await (await adminOf()).listPartitions()).map((partition) => partition.name);
  },
  // All that the client shows of the objects, which the one for Python does not.
  async describe({ kind = "topic" }) {
    const of = await adminOf();
    return json(await (kind === "spu" ? of.listSpu() : kind === "partition" ? of.listPartitions() : of.listTopic()));
  },
  async find_topic({ name }) {
    return json(await (await adminOf()).findTopic(name));
  },
  async find_partition({ name }) {
    return await (await adminOf()).findPartition(name);
  },
  async produce({ topic, records, config, method = "send", flush = true }) {
    const producer = await producerOf(topic, config);
    if (method === "send_all") {
      await producer.sendAll(records.map(([key, value]) => [bytes(key), bytes(value)]));
    } else {
      for (const [key, value] of records) {
        if (method === "send_string") await producer.sendRecord(value, 0);
        else await producer.send(bytes(key), bytes(value));
      }
    }
    if (flush) await producer.flush();
    return null; // the client tells no offsets
  },
  async flush({ topic }) {
    await (await producerOf(topic)).flush();
    return null;
  },
  async bulk_produce({ topic, count, size, chunk = 1000, config }) {
    const producer = await producerOf(topic, config);
    const value = "x".repeat(size);
    const started = process.hrtime.bigint();
    for (let first = 0; first < count; first += chunk) {
      await producer.sendAll(Array.from({ length: Math.min(chunk, count - first) }, () => ["", value]));
    }
    await producer.flush();
    const seconds = Number(process.hrtime.bigint() - started) / 1e9;
    return { seconds, records: count, records_per_second: count / seconds };
  },
  async tick({ topic, count, interval, size = 100, config }) {
    const producer = await producerOf(topic, config);
    let due = performance.now();
    for (let i = 0; i < count; i += 1) {
      await sleep(due - performance.now());
      due += interval * 1000;
      await producer.send("", `${now()} `.padEnd(size, "x"));
      await producer.flush();
    }
    return count;
  },
  async consume({ count = Infinity, ...how }) {
    const records = [];
    await take(await opened(how), count, (item) => records.push(record(item)));
    return records;
  },
  async follow({ count = Infinity, ...how }) {
    const stream = await opened(how);
    emit({ item: "ready" });
    return await take(stream, count, (item) => emit({ item: record(item) }));
  },
  async latency({ count, ...how }) {
    const stream = await opened({ offset: "end", ...how });
    emit({ item: "ready" });
    const ages = [];
    await take(stream, count, (item) => ages.push(Number(now() - BigInt(text(item.value()).split(" ", 1)[0])) / 1e6));
    ages.sort((one, other) => one - other);
    const [p50, p90, p99] = [0.5, 0.9, 0.99].map((part) => ages[Math.min(ages.length - 1, Math.floor(ages.length * part))]);
    const figures = { records: ages.length, p50, p90, p99, max: ages.at(-1) };
    emit({ item: figures });
    return figures;
  },
  async bulk_consume({ count, ...how }) {
    const started = process.hrtime.bigint();
    let size = 0;
    const seen = await take(await opened(how), count, (item) => (size += item.value().byteLength));
    const seconds = Number(process.hrtime.bigint() - started) / 1e9;
    return { seconds, records: seen, bytes: size, records_per_second: seen / seconds };
  },
  async open({ name = "", ...how }) {
    streams.set(name, await opened(how));
    return null;
  },
  async take({ count, name = "" }) {
    const records = [];
    await take(streams.get(name), count, (item) => records.push(record(item)));
    return records;
  },
  async shut({ name = "" }) {
    streams.delete(name);
    return null;
  },
};

async function answer(line) {
  try {
    const { command, ...given } = JSON.parse(line);
    if (!Object.hasOwn(commands, command)) throw new Unsupported(`no command ${command}`);
    emit({ result: await commands[command](given) });
  } catch (problem) {
    if (problem instanceof Unsupported) emit({ unsupported: problem.message });
    else emit({ error: Array.isArray(problem) ? problem.join("; ") : String(problem?.message ?? problem) });
  }
}

let last = Promise.resolve();
readline
  .createInterface({ input: process.stdin })
  .on("line", (line) => (last = last.then(() => answer(line))))
  .on("close", () => last.then(() => process.exit(0)));
