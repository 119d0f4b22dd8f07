"""The local server: durable promises and tasks over the wire of the Resonate server v0.7, in one Python process.

How data flows, and the only way it flows::

    bytes -> http -> api (decode, validate) -> rules (read, decide) -> store (SQL)
          -> COMMIT -> reply bytes, and deliveries -> event stream bytes
    clock -> the same rules -> the same COMMIT -> the same deliveries

From the top to the ground: ``cli`` and ``server`` start and end it, ``listeners`` are its two ports. ``page`` and
``api`` turn requests into operations of the rules, and results into what is sent. ``presence`` tells the rules which
workers come and go, by ``os_process``. ``engine`` runs the turns: rules, COMMIT, send. ``rules`` decide, without IO,
and take the time as an argument; ``rules.states`` is where to start. ``store`` has their SQL. ``http`` speaks HTTP/1.1.
``terminal`` are the commands that ask a running server. No wing imports another that stands above it.
"""

WIRE_VERSION = "0.7.25"  # of the official server whose wire this one speaks
