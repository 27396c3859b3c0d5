-- Room names are bytes: SQLite must not fold case, normalise, or stop at a NUL.
CREATE TABLE rooms (
    id         INTEGER PRIMARY KEY,
    name       BLOB    NOT NULL UNIQUE,
    generation INTEGER NOT NULL DEFAULT 0
) STRICT;

-- AUTOINCREMENT: a seq is never given twice, even after the newest rows are gone. It is the only order; `at` is not.
CREATE TABLE updates (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    room   INTEGER NOT NULL REFERENCES rooms (id),
    data   BLOB    NOT NULL,
    author BLOB    NOT NULL,
    at     INTEGER NOT NULL,
    crc    INTEGER NOT NULL
) STRICT;
CREATE INDEX updates_by_room ON updates (room, seq);

-- Segments are history and stay; a room has at most one snapshot. authors: JSON array of strings.
CREATE TABLE blocks (
    id      INTEGER PRIMARY KEY,
    room    INTEGER NOT NULL REFERENCES rooms (id),
    kind    TEXT    NOT NULL CHECK (kind IN ('segment', 'snapshot')),
    first   INTEGER NOT NULL,
    last    INTEGER NOT NULL CHECK (last >= first),
    data    BLOB    NOT NULL,
    crc     INTEGER NOT NULL,
    authors TEXT    NOT NULL,
    started INTEGER NOT NULL,
    ended   INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX blocks_by_room ON blocks (room, kind, last);

-- Updates that cannot be merged, as they came in, for people to look at.
CREATE TABLE quarantine (
    position INTEGER PRIMARY KEY,
    room     INTEGER NOT NULL REFERENCES rooms (id),
    data     BLOB    NOT NULL,
    author   BLOB    NOT NULL,
    at       INTEGER NOT NULL,
    rule     TEXT    NOT NULL,
    detail   TEXT    NOT NULL
) STRICT;
CREATE INDEX quarantine_by_room ON quarantine (room, position);
