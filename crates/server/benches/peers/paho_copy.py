"""A consumer as one writes it in Python: paho-mqtt, batches, COPY into TimescaleDB. It stores and nothing else.

A peer for `forecare bench drain` and `forecare bench live`, which start it (see --help there):

    python3 -m venv peers && peers/bin/pip install -r crates/server/benches/peers/requirements.txt
    forecare bench drain --store postgres://... --peer 'peers/bin/python crates/server/benches/peers/paho_copy.py'

DB is the database, PORT the broker's port at 127.0.0.1. A message is acknowledged when it has been read, which is what
paho does by itself; what had not been committed when the process is killed is lost. ACK=commit: once it is committed, as
Forecare does; only for `drain`, where the broker is told to set no limit to what is under way. MQTT 3.1.1, because each
message's properties cost paho as much again with MQTT 5.
"""

import json
import os
import signal
import threading
import time
from datetime import datetime, timezone

import paho.mqtt.client as mqtt
import psycopg
from paho.mqtt.enums import CallbackAPIVersion

METRICS = ("temperature", "vib_x", "vib_y", "vib_z", "current", "rpm", "pressure", "load")
COLUMNS = "device, ts, " + ", ".join(METRICS)
BATCH_WAIT_S = 0.1
WAITING_MAX = 20_000


def row_of(message):
    """The line of COPY's text format; device names of the bench need no escaping."""
    reading = json.loads(message.payload)
    at = datetime.fromtimestamp(reading["ts"] / 1000, timezone.utc).isoformat()
    return "\t".join([reading["device"], at, *(str(reading[name]) for name in METRICS)])


def store(connection, rows):
    """One transaction. What a broken connection had delivered before comes again: then each row by itself."""
    try:
        with connection.cursor() as cursor, cursor.copy(f"COPY tj ({COLUMNS}) FROM STDIN") as copy:
            copy.write("\n".join(rows) + "\n")
    except psycopg.errors.UniqueViolation:
        connection.rollback()
        places = ", ".join(["%s"] * (len(METRICS) + 2))
        insert = f"INSERT INTO tj ({COLUMNS}) VALUES ({places}) ON CONFLICT DO NOTHING"
        with connection.cursor() as cursor:
            cursor.executemany(insert, [row.split("\t") for row in rows])
    connection.commit()


class Arrived:
    """Messages between paho's thread and the one that stores; whoever is too fast waits."""

    def __init__(self):
        self.messages = []
        self.changed = threading.Condition()

    def put(self, message):
        with self.changed:
            while len(self.messages) >= WAITING_MAX:
                self.changed.wait()
            self.messages.append(message)
            if len(self.messages) == 1:
                self.changed.notify_all()

    def batches(self):
        """All that has come BATCH_WAIT_S after the first of it."""
        while True:
            with self.changed:
                while not self.messages:
                    self.changed.wait()
            time.sleep(BATCH_WAIT_S)
            with self.changed:
                batch, self.messages = self.messages, []
                self.changed.notify_all()
            yield batch


def main():
    acknowledges_commits = os.environ.get("ACK") == "commit"
    arrived = Arrived()
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id="peer",
        clean_session=False,
        manual_ack=acknowledges_commits,
    )

    def write():
        with psycopg.connect(os.environ["DB"]) as connection:
            for batch in arrived.batches():
                store(connection, [row_of(message) for message in batch])
                if acknowledges_commits:
                    for message in batch:
                        client.ack(message.mid, message.qos)

    def write_or_end():
        try:
            write()
        except Exception as error:  # Whoever cannot store must not go on reading.
            print(f"paho_copy: {error}", flush=True)
            os._exit(1)

    client.on_connect = lambda client, *_: client.subscribe("telemetry/#", qos=1)
    client.on_message = lambda client, data, message: arrived.put(message)
    # The bench stops its consumers by SIGTERM: what is not acknowledged comes again.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    threading.Thread(target=write_or_end, daemon=True).start()
    client.connect("127.0.0.1", int(os.environ.get("PORT", "18990")))
    client.loop_forever()


if __name__ == "__main__":
    main()
