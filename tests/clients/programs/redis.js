// What node-redis does, printed: argv[2] is the port, argv[3] the RESP version, argv[4] `masked` for who sees masks.
const { createClient, createClientPool, defineScript, WatchError } = require("redis");

const port = Number(process.argv[2]);
const RESP = Number(process.argv[3]);
const say = (...words) => console.log(JSON.stringify(words));

const scripts = {
  add: defineScript({
    SCRIPT: "return redis.call('INCRBY', KEYS[1], ARGV[1])",
    NUMBER_OF_KEYS: 1,
    FIRST_KEY_INDEX: 1,
    parseCommand(parser, key, by) {
      parser.pushKey(key);
      parser.push(String(by));
    },
    transformReply: undefined,
  }),
};

async function connected(options = {}) {
  const client = createClient({ RESP, socket: { host: "127.0.0.1", port, reconnectStrategy: false }, scripts, ...options });
  client.on("error", (error) => say("error", error.message));
  await client.connect();
  return client;
}

async function masked() {
  const client = await connected();
  say(await client.get("secret:1"), await client.mGet(["session:1", "secret:2"]));
  say(await client.hGetAll("profile:1"), await client.hGet("contact:1", "email"));
  say((await client.xRange("letters", "-", "+"))[0].message);
  say(await client.multi().get("secret:3").get("session:3").exec());
  await client.get("vault:1").catch((error) => say(error.message.split(" ")[0], error.message.includes("lockgate:")));
  say(await Promise.all([client.get("session:4"), client.get("vault:1").catch(() => "refused"), client.get("session:5")]));
  client.destroy();
}

async function everything() {
  const client = await connected();
  await client.del(["n:text", "n:hash", "n:list", "n:set", "n:zset", "n:stream", "n:count", "n:watched", "n:queue"]);
  say(await client.set("n:text", "a", { EX: 100 }), await client.get("n:text"), (await client.ttl("n:text")) > 90);
  say(await client.hSet("n:hash", { a: 1, b: "two" }), await client.hGetAll("n:hash"), await client.hmGet("n:hash", ["a", "c"]));
  say(await client.rPush("n:list", ["1", "2", "3"]), await client.lRange("n:list", 0, -1), await client.lPop("n:list"));
  say(await client.sAdd("n:set", ["x", "y"]), (await client.sMembers("n:set")).sort(), await client.sIsMember("n:set", "z"));
  say(await client.zAdd("n:zset", [{ score: 1.5, value: "p" }, { score: Infinity, value: "q" }]),
    await client.zRangeWithScores("n:zset", 0, -1), await client.zScore("n:zset", "nobody"));
  say(await client.xAdd("n:stream", "1-1", { f: "v" }), await client.xRange("n:stream", "-", "+"), await client.xLen("n:stream"));
  // sent in one go
  say((await Promise.all(Array.from({ length: 500 }, (_, i) => client.incrBy("n:count", i)))).at(-1));
  say(await client.multi().incr("n:count").hGet("n:hash", "b").get("n:nothing").exec());
  say(await client.multi().set("n:text", "s").lPush("n:text", "wrong").exec().catch((error) => error.message));
  const other = await connected();
  await client.watch("n:watched");
  await other.set("n:watched", "changed");
  say(await client.multi().set("n:watched", "mine").exec().catch((error) => error instanceof WatchError));
  say(await client.add("n:count", 5), await client.add("n:count", 5));
  const keys = [];
  for await (const batch of client.scanIterator({ MATCH: "n:*", COUNT: 3 })) keys.push(...batch);
  say(keys.sort());
  await client.sendCommand(["NOSUCH", "x"]).catch((error) => say(error.message.split(" ")[0]));
  say(await client.sendCommand(["OBJECT", "ENCODING", "n:count"]), await client.type("n:zset"));
  // blocking, while another works
  const waiting = other.brPop("n:queue", 5);
  say(await client.lPush("n:queue", "job"), await waiting);
  // messages
  const subscriber = await connected();
  const told = [];
  const both = new Promise((resolve) => {
    const listen = (message, channel) => {
      told.push([channel, message]);
      if (told.length === 3) resolve();
    };
    subscriber.subscribe("n:news", listen).then(() => subscriber.pSubscribe("n:n*", listen)).then(async () => {
      await client.publish("n:news", "good");
      await client.publish("n:nothing", "else");
    });
  });
  await both;
  say(told.sort());
  await subscriber.unsubscribe("n:news");
  await subscriber.pUnsubscribe("n:n*");
  say(await subscriber.ping());
  const pool = createClientPool({ RESP, socket: { host: "127.0.0.1", port } }, { minimum: 1, maximum: 4 });
  await pool.connect();
  say(await Promise.all(Array.from({ length: 20 }, (_, i) => pool.incrBy("n:count", 0 * i))));
  await pool.close();
  const big = "x".repeat(3_000_000);
  await client.set("n:big", big);
  say((await client.get("n:big")) === big, await client.del("n:big"));
  for (const one of [client, other, subscriber]) await one.close();
}

(process.argv[4] === "masked" ? masked() : everything()).catch((error) => {
  console.error(error);
  process.exit(1);
});
