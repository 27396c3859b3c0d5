/* What to do, read from a JSON file. Every key is optional but `target`; an unknown key is an error. */
#ifndef BENCH_CONFIG_H
#define BENCH_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_TARGETS = 32, MAX_PIDS = 64, MAX_STEPS = 64 };

struct config {
    char *text; /* the file as it was, for the result */
    int targets;
    char *target[MAX_TARGETS]; /* host:port; connections are spread over them in turn */
    char *path;                /* of the websocket; {room} is replaced */
    bool hocuspocus;           /* else the y-websocket protocol */
    char *room;                /* with several rooms: a prefix */
    uint32_t rooms, clients, writers;
    double rate;             /* edits a second of each writer */
    double presence_rate;    /* states a second of each client that has presence */
    int64_t presence_clients; /* per room; -1: all */
    int echo;                /* re-send remote states that were new, as y-websocket does; -1: yes unless hocuspocus */
    double barriers;         /* message 102 a second of each client that asks */
    bool all_ask;            /* barrier_clients: readers too, not only writers */
    double duration, warmup, drain;
    uint32_t late, joiners;
    bool join_at_once, probe, idle_only;
    int pids;
    int pid[MAX_PIDS];
    int shard, shards;
    char *rendezvous; /* file that the shards of a run share */
    uint64_t seed;
    bool ramp;
    double ramp_from, ramp_to, ramp_step, ramp_seconds;
    double connect_rate, connect_timeout;
    uint32_t in_flight;
    char *document, *state_vector, *token;
    int steps; /* measured steps: 1 without a ramp */
    double factor[MAX_STEPS];
};

void config_read(struct config *config, const char *path);
uint8_t *file_read(const char *path, size_t *size);

#endif
