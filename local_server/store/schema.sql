-- Times are ms since the epoch; deadlines are ms of the monotonic clock of the server's current run.
-- JSON columns hold text as it goes out. Rowids give the order of creation.
-- Whoever changes a table or an index adds a migration to inspection.py, for the databases that are there.

CREATE TABLE IF NOT EXISTS promises (
    sort INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    param TEXT NOT NULL,                -- JSON {"headers":..,"data":..}, with markers for long strings
    value TEXT NOT NULL,                -- JSON, likewise
    timeout INTEGER NOT NULL,
    idempotency_key_for_create TEXT,
    idempotency_key_for_complete TEXT,
    tags TEXT,                          -- JSON
    created_on INTEGER NOT NULL,
    completed_on INTEGER,
    parent TEXT                         -- the promise whose function created it; NULL: a root of the call graph
);
CREATE INDEX IF NOT EXISTS promises_due ON promises (timeout) WHERE state = 'PENDING';
CREATE INDEX IF NOT EXISTS promises_children ON promises (parent) WHERE parent IS NOT NULL;
CREATE INDEX IF NOT EXISTS promises_roots ON promises (sort, id) WHERE parent IS NULL;

-- A function asked for a promise that another had created before: the call graph is no tree there.
CREATE TABLE IF NOT EXISTS shared_children (
    parent TEXT NOT NULL,
    child TEXT NOT NULL,
    PRIMARY KEY (parent, child)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS shared_parents ON shared_children (child);

CREATE TABLE IF NOT EXISTS callbacks (
    promise TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,                 -- resume or notify
    root TEXT NOT NULL,
    recv TEXT NOT NULL,
    timeout INTEGER NOT NULL,
    head TEXT,                          -- JSON trace headers
    created_on INTEGER NOT NULL,
    PRIMARY KEY (promise, id)
) WITHOUT ROWID;

-- Completed promises of which tasks are still to be ended, or callbacks to become tasks, and pending ones of which tasks
-- are still to be offered: more than one turn takes. The rules call that following up.
CREATE TABLE IF NOT EXISTS unsettled (
    promise TEXT PRIMARY KEY
) WITHOUT ROWID;

-- Promises that were removed, below which there may be others to remove: more than one turn takes.
CREATE TABLE IF NOT EXISTS removed (
    promise TEXT PRIMARY KEY
) WITHOUT ROWID;

-- Long strings of values are stored in parts. Those of one request are an upload: see parts.py.
CREATE TABLE IF NOT EXISTS uploads (
    id INTEGER NOT NULL PRIMARY KEY,    -- its parts have the ids from this on
    promise TEXT                        -- whose they are; empty: of one to come; NULL: of none, they are to be removed
);
CREATE INDEX IF NOT EXISTS uploads_promise ON uploads (promise);
CREATE TABLE IF NOT EXISTS parts (
    id INTEGER NOT NULL PRIMARY KEY,
    text TEXT NOT NULL                  -- of a string in JSON
);

CREATE TABLE IF NOT EXISTS tasks (
    sort INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    counter INTEGER NOT NULL,
    root TEXT NOT NULL,
    leaf TEXT,
    recv TEXT NOT NULL,
    timeout INTEGER NOT NULL,
    process TEXT,                       -- who claimed it: a text of the SDK's, not an operating system's pid
    ttl INTEGER NOT NULL,
    deadline INTEGER,
    not_before INTEGER,
    recipient TEXT,
    head TEXT,
    created_on INTEGER NOT NULL,
    completed_on INTEGER,
    waits_for TEXT,                     -- address for which no worker could be found; NULL: waits for none
    claimed_on INTEGER                  -- of the latest claim
);
CREATE INDEX IF NOT EXISTS tasks_live ON tasks (root) WHERE state IN ('INIT', 'ENQUEUED', 'CLAIMED');
CREATE INDEX IF NOT EXISTS tasks_due ON tasks (deadline) WHERE deadline IS NOT NULL;
CREATE INDEX IF NOT EXISTS tasks_delayed ON tasks (not_before) WHERE not_before IS NOT NULL;
CREATE INDEX IF NOT EXISTS tasks_waiting ON tasks (waits_for) WHERE waits_for IS NOT NULL;
CREATE INDEX IF NOT EXISTS tasks_claimed ON tasks (process) WHERE state = 'CLAIMED';

-- Claims that did not end in completion: the history of what was taken over, and after how long.
CREATE TABLE IF NOT EXISTS lost_claims (
    task TEXT NOT NULL,
    counter INTEGER NOT NULL,
    recipient TEXT,
    claimed_on INTEGER,
    lost_on INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (task, counter)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS schedules (
    sort INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    cron TEXT NOT NULL,
    tags TEXT NOT NULL,
    promise_id TEXT NOT NULL,
    promise_timeout INTEGER NOT NULL,
    promise_param TEXT NOT NULL,
    promise_tags TEXT,
    last_run_time INTEGER,
    next_run_time INTEGER NOT NULL,
    idempotency_key TEXT,
    created_on INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS schedules_due ON schedules (next_run_time);

-- The operating system's process behind each worker on the server's machine, so that the next server there can tell who
-- is gone.
CREATE TABLE IF NOT EXISTS processes (
    recipient TEXT PRIMARY KEY,         -- "group/id"
    pid INTEGER NOT NULL,
    started REAL NOT NULL,              -- seconds since the epoch, as the operating system tells: tells reused pids apart
    machine TEXT NOT NULL               -- on which the pid means something
) WITHOUT ROWID;
