"""Append latency while the server has other things to do: a large stream is read, and a thousand readers tail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.fleet import Fleet, percentile, run_load
from bench.workloads.base import BYTES, JSON, Measurement, Meter, Usual, create, fresh_name, measured
from bench.workloads.fan_out import follow_tasks, write_task

if TYPE_CHECKING:
    from bench.process import RunningServer

FILL_S = 12.0


class AppendWhileRead(Usual):
    """Appends at 50/s to a stream that 1,000 readers tail, while another of 1 GB is read again and again.

    Compared with the same appends on the same server before.
    """

    name, title = "append-while-read", "Append p99 while 1 GB is read and 1,000 readers tail"
    unit, family = "ms", "mixed"
    more_is_better = False
    once = True
    readers = 1_000

    def run(self, server: RunningServer, *, quick: bool) -> Measurement:
        (large,) = create(server, fresh_name("g"))
        (small,) = create(server, fresh_name("h"), content_type=JSON)
        count = 100 if quick else 1_000
        fill = {"port": server.port, "paths": [large], "connections": 4, "count": count}
        filled = run_load("append", {**fill, "seconds": FILL_S, "body_bytes": 1 << 20, "content_type": BYTES})
        seconds = 3.0 if quick else 6.0
        idle = run_load("write", write_task(server, [small], seconds, lanes=1))
        idle_ms = percentile(idle["latencies_ms"], 0.99)
        pages = {"port": server.port, "paths": [large], "readers": 1, "mark": "", "seconds": seconds + 20}
        with (
            Fleet("follow", *follow_tasks(server, [small], self.readers)) as readers,
            Fleet("write", write_task(server, [small], seconds, lanes=1)) as writer,
            Fleet("pages", pages) as reader,
        ):
            for fleet in (readers, writer, reader):
                fleet.ready()
            meter = Meter(server)
            reader.go()
            readers.go()
            written = writer.go().result()
            delivered = readers.stop({"count": written["count"]}).result()
            read = reader.stop({}).result()
            measurement = measured(written, meter, percentile(written["latencies_ms"], 0.99))
        measurement.faults += delivered["faults"]
        measurement.share = max(written["share"], delivered["share"])
        measurement.more |= {
            "idle_p99_ms": idle_ms,
            "times_idle": measurement.value / idle_ms,
            "read_mb_per_s": read["bytes"] / 1e6 / read["elapsed_s"],
            "delivery_p99_ms": percentile(delivered["latencies_ms"], 0.99),
        }
        if filled["count"] < count:
            measurement.note = f"large stream: {filled['count']} MiB"
        return measurement
