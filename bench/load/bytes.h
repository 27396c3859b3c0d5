/* A growable byte buffer, and the clock. */
#ifndef BENCH_BYTES_H
#define BENCH_BYTES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct bytes {
    uint8_t *data;
    size_t size, capacity;
};

/* End the process: a benchmark that goes on after an error of its own reports nonsense. */
#define die(...) (fprintf(stderr, "error: " __VA_ARGS__), fputc('\n', stderr), exit(2))

static inline void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size ? size : 1);
    if (!memory)
        die("out of memory");
    return memory;
}

static inline void bytes_reserve(struct bytes *b, size_t more)
{
    if (b->capacity - b->size >= more)
        return;
    size_t wanted = b->capacity * 2 > b->size + more ? b->capacity * 2 : b->size + more;
    b->data = realloc(b->data, wanted);
    if (!b->data)
        die("out of memory");
    b->capacity = wanted;
}

static inline void bytes_add(struct bytes *b, const void *data, size_t size)
{
    bytes_reserve(b, size);
    if (size)
        memcpy(b->data + b->size, data, size);
    b->size += size;
}

static inline void bytes_free(struct bytes *b)
{
    free(b->data);
    *b = (struct bytes){0};
}

/* lib0 varUint: seven bits a byte, lowest first. */
static inline void bytes_uint(struct bytes *b, uint64_t value)
{
    bytes_reserve(b, 10);
    for (; value > 0x7f; value >>= 7)
        b->data[b->size++] = 0x80 | (value & 0x7f);
    b->data[b->size++] = (uint8_t)value;
}

/* A byte string with its length before it. */
static inline void bytes_string(struct bytes *b, const void *data, size_t size)
{
    bytes_uint(b, size);
    bytes_add(b, data, size);
}

/* Nanoseconds of the one clock that all processes of this machine share and nobody sets. */
static inline int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

#endif
