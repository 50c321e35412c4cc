// What node-postgres does, printed: argv[2] is the port, argv[3] `masked` for somebody who sees masks.
const { Client, Pool, types } = require("pg");
const Cursor = require("pg-cursor");
const copy = require("pg-copy-streams");
const { pipeline } = require("stream/promises");
const { Readable } = require("stream");

const where = { host: "127.0.0.1", port: Number(process.argv[2]), user: "app", database: "postgres" };
const say = (...words) => console.log(JSON.stringify(words));

async function masked() {
  const client = new Client(where);
  await client.connect();
  const text = "SELECT id, email, ssn, born FROM customers WHERE id = $1";
  say((await client.query(text, [7])).rows[0]);
  say((await client.query({ name: "one", text, values: [8], rowMode: "array" })).rows[0]);
  await client.query("DROP TABLE orders").catch((error) => say(error.code, error.message));
  say((await client.query("SELECT 1 AS one")).rows);
  await client.end();
}

async function everything() {
  const client = new Client(where);
  await client.connect();
  client.on("notification", (message) => say("told", message.channel, message.payload));
  say((await client.query("SELECT $1::int + 1 AS n, $2::jsonb AS j, $3::text[] AS a, now() > '2020-01-01' AS t",
    [41, { a: [1, 2] }, ["x", "y"]])).rows);
  for (let i = 0; i < 3; i++) say((await client.query({ name: "q", text: "SELECT total FROM orders WHERE id = $1", values: [i + 1] })).rows);
  say((await client.query({ text: "SELECT total FROM orders WHERE id = $1", values: [5], binary: true })).rows.length);
  say((await client.query("SELECT 1 AS a; SELECT 2 AS b")).map((r) => r.rows));
  await client.query("BEGIN");
  await client.query("INSERT INTO scratch VALUES ($1, $2)", [1, "one"]);
  await client.query("SELECT nope FROM scratch").catch((error) => say(error.code, error.position));
  await client.query("SELECT 1").catch((error) => say(error.code));
  await client.query("ROLLBACK");
  const cursor = client.query(new Cursor("SELECT id FROM orders WHERE id > $1 ORDER BY id", [90]));
  for (let rows; (rows = await cursor.read(4)).length;) say(rows.map((r) => r.id));
  await cursor.close();
  await client.query("BEGIN");
  await pipeline(Readable.from(["1\ta\n2\t", "b\n"]), client.query(copy.from("COPY scratch FROM STDIN")));
  let copied = "";
  for await (const piece of client.query(copy.to("COPY scratch TO STDOUT CSV"))) copied += piece;
  say(copied);
  await client.query("ROLLBACK");
  await client.query("LISTEN news");
  await client.query("SELECT pg_notify('news', 'good')");
  await client.query({ text: "SELECT pg_sleep(5)", query_timeout: 200 }).catch((error) => say(error.message));
  await client.end();
  const pool = new Pool({ ...where, max: 4 });
  say((await Promise.all(Array.from({ length: 20 }, (_, i) => pool.query("SELECT $1::int AS i", [i])))).map((r) => r.rows[0].i));
  await pool.end();
}

(process.argv[3] === "masked" ? masked() : everything()).catch((error) => { console.error(error); process.exit(1); });
