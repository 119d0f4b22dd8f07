"""The local server: durable promises and tasks over the wire of the Resonate server v0.7, in one Python process.

How data flows, and the only way it flows::

    bytes -> http -> wire (decode, validate) -> rules (read, decide) -> store (SQL)
          -> COMMIT -> reply bytes, and deliveries -> event stream bytes
    clock -> the same rules -> the same COMMIT -> the same deliveries

``protocol`` and ``http`` speak HTTP, ``wire`` is the shape of what they carry. ``promises``, ``tasks``, ``dispatch``
and ``schedules`` are the rules (they import no IO and take the time as an argument), ``states`` is their table,
``workers`` knows who is connected and what each holds. ``database`` opens the file, ``store`` has
all the SQL of the rules, and ``engine`` runs the turns: rules, COMMIT, send. ``serve`` starts and ends it all.
"""

WIRE_VERSION = "0.7.25"  # of the official server whose wire this one speaks
