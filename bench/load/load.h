/* The state of one run, shared by the parts of the load generator: see main.c for how it measures. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "config.h"
#include "cpu.h"
#include "histogram.h"
#include "update.h"
#include "ws.h"
#include <stdatomic.h>

/* -- the plan: who writes what when; a pure function of the config, the same in every shard (plan.c) */

struct room {
    char name[160];
    uint32_t first;   /* its first participant */
    uint32_t clients, writers, presence; /* participants with an index below writers type, and so on */
    double rate;
    uint32_t here; /* its participants that are connected to this process */
    bool probe; /* the small room beside the others; counted apart */
};

struct participant {
    uint64_t id; /* Yjs client id */
    uint32_t room, index;
    size_t edits; /* its edits' times: due[edits] and on */
    uint32_t edit_count;
    double phase; /* of what it does at an even pace besides, as a share of that pace */
};

enum { NOBODY = 0xffffffff, DOCUMENT = 0x80000000 };

struct plan {
    uint32_t rooms, participants;
    struct room *room;
    struct participant *participant;
    uint32_t *due;                 /* microseconds after the start */
    int64_t bound[MAX_STEPS + 3];  /* step s is [bound[s], bound[s + 1]); step 0 is the warm-up */
    uint32_t document_clients;     /* of the document that the rooms start with */
    struct { uint64_t client; uint32_t end; } *document_state;
    uint8_t *document, *state_vector;
    size_t document_size, state_vector_size;
};

void plan_make(void);
uint32_t plan_find(uint64_t client); /* participant, DOCUMENT | index in document_state, or NOBODY */
uint64_t plan_expected(int64_t from, int64_t to, bool probe); /* deliveries of the edits due in [from, to) sent so far */
int64_t presence_due(const struct participant *p, uint32_t clock);

/* -- connections (client.c: what one does with messages; scenario.c: when they are opened) */

enum role { REGULAR, SEEDER, CHECKER, JOINER, LATE };
enum state { UNOPENED, CONNECTING, UPGRADING, SYNCING, OPEN, CLOSED };

struct ahead { uint32_t index, first, end; }; /* received before something older of the same writer */

struct connection {
    struct ws ws;
    enum role role;
    enum state state;
    uint32_t target;
    const struct room *room;
    const struct participant *self; /* NULL when it only reads */
    uint32_t written;               /* edits it has sent */
    uint32_t echoed;                /* of those, edits the server has sent back */
    uint32_t known_size;
    uint32_t *known;                /* next clock it waits for, of each writer, then of each client of the document */
    uint32_t ahead_count;
    struct ahead *ahead;
    uint32_t *presence;             /* of each client: clock of its state * 2 + whether it has one */
    uint32_t barriers;              /* messages 102 it has sent */
    uint32_t *barrier_due;          /* from when each counts; NOBODY once it has come back */
    bool barrier_wanted;            /* behind its next edit */
    bool step2, document_sent;
    uint64_t missing;               /* clocks of the document it has not got */
    uint64_t bytes, bytes_at_sync;
    int64_t opened, synced;         /* nanoseconds */
};

/* Figures of one step. */
struct step {
    uint64_t sent, deliveries; /* of the edits due in it, whenever they came */
    struct histogram latency;
    uint64_t arrivals;         /* deliveries that came in its time, whatever edits of: what server_cpu was spent on */
    int64_t server_cpu;
};

struct run {
    struct config config;
    struct plan plan;
    uint32_t connections;
    struct connection **connection;
    int64_t start;              /* nanoseconds; the schedule counts from here */
    int64_t now;                /* microseconds after the start when the present message was read */
    uint32_t in_flight, open, closed, late_ok, joiners, joined;
    struct step step[MAX_STEPS + 1], probe[2];
    struct histogram saved, seen_saved, presence_latency, lateness;
    uint64_t delivered;         /* every delivery, that of warm-up and probe too */
    uint64_t duplicates, overlaps, gaps, corrupted, misrouted, malformed, texts, echoes;
    uint64_t frames, bytes, barriers_open;
    uint64_t presence_sent, presence_echoed, presence_received;
    uint32_t errors;
    char error[20][200];
    /* measured by scenario.c */
    double connect_seconds, window_seconds, drain_seconds;
    int64_t connect_cpu, generator_cpu, join_cpu;
    int64_t longest_round, window_longest_round; /* nanoseconds in which this program looked at no socket */
    struct cpu cpu_start, cpu_end;
    uint64_t window_frames, window_bytes, window_arrivals;
    uint32_t connected;
    bool converged;
};

extern struct run run;

void run_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint32_t sent_by(uint32_t participant); /* edits, whichever shard it is in */

struct connection *connection_new(enum role role, uint32_t room, const struct participant *self, uint32_t target);
void connection_readable(struct connection *c);
void connection_close(struct connection *c);
void send_greeting(struct connection *c);
void send_edit(struct connection *c);
void send_presence(struct connection *c, uint32_t clock);
void send_barrier(struct connection *c, uint32_t due);
bool has_everything(const struct connection *c);
int step_at(int64_t due);

void scenario(void);
void result_print(FILE *to);

#endif
