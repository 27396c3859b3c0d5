/* Yjs update v1 and state vectors: a reader that passes over every kind of content, and a writer of typed text.
 * Format: yjs src/utils/encoding.js, UpdateEncoder.js and src/structs; Any values: lib0 encoding.js. */
#ifndef BENCH_UPDATE_H
#define BENCH_UPDATE_H

#include "bytes.h"
#include <stdbool.h>

enum { GC = 0, DELETED, JSON_ARRAY, BINARY, STRING, EMBED, FORMAT, TYPE, ANY, DOC, SKIP };

/* Bounded cursor. After anything that does not fit `failed` is set and every number read is 0. */
struct reader {
    const uint8_t *at, *end;
    bool failed;
};

static inline uint64_t read_uint_slow(struct reader *r)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 63 && r->at < r->end; shift += 7) {
        uint8_t byte = *r->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return value;
    }
    r->failed = true;
    r->at = r->end;
    return 0;
}

static inline uint64_t read_uint(struct reader *r)
{
    if (r->at < r->end && *r->at < 0x80)
        return *r->at++;
    return read_uint_slow(r);
}

/* Pass over `size` bytes; returns where they are, NULL when there are fewer. */
static inline const uint8_t *read_bytes(struct reader *r, uint64_t size)
{
    if (size > (uint64_t)(r->end - r->at)) {
        r->failed = true;
        r->at = r->end;
        return NULL;
    }
    const uint8_t *start = r->at;
    r->at += size;
    return start;
}

/* A byte string with its length before it, as a reader of its own. */
static inline struct reader read_string(struct reader *r)
{
    uint64_t size = read_uint(r);
    const uint8_t *start = read_bytes(r, size);
    return start ? (struct reader){start, start + size, false} : (struct reader){0};
}

/* One struct of an update. `text` is the content of a STRING. */
struct item {
    int kind;
    uint64_t length; /* clocks it takes */
    struct reader text;
};

void read_item(struct reader *r, struct item *item);

/* Called for each contiguous range of clocks of one client; Skip structs interrupt a range. */
typedef void (*range_found)(void *context, uint64_t client, uint64_t first, uint64_t end);

/* Read a whole update: structs (`structs`) and delete set (`deletes`), either may be NULL. False: malformed. */
bool update_ranges(const uint8_t *data, size_t size, range_found structs, range_found deletes, void *context);

/* Passes over a delete set. */
bool read_deletes(struct reader *r, range_found found, void *context);

/* Append the update of text typed in one go: clocks [first, end) of the client, each one ASCII character of
 * `letter_at`, each behind the one before it; the first of all stands at the start of the root `quill`. */
void write_typed(struct bytes *to, uint64_t client, uint64_t first, uint64_t end);

/* The character that the edit of this clock types, whoever types it: so a reader can check the content too. */
static inline uint8_t letter_at(uint64_t clock)
{
    static const char letters[] = "the quick brown fox jumps over the lazy dog, and then back again";
    return (uint8_t)letters[clock & 63];
}

#endif
