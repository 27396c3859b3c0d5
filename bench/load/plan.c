#include "load.h"

/* Client ids to what they are. Open addressing: the load factor is at most a quarter, so a look-up is one probe. */
static struct { uint64_t id; uint32_t value; } *table;
static uint32_t table_bits;

static uint32_t slot_of(uint64_t id)
{
    return (uint32_t)(id * 0x9e3779b97f4a7c15ull >> (64 - table_bits));
}

uint32_t plan_find(uint64_t client)
{
    for (uint32_t slot = slot_of(client);; slot = (slot + 1) & ((1u << table_bits) - 1)) {
        if (table[slot].value == NOBODY)
            return NOBODY;
        if (table[slot].id == client)
            return table[slot].value;
    }
}

static void table_add(uint64_t client, uint32_t value)
{
    uint32_t slot = slot_of(client);
    while (table[slot].value != NOBODY)
        slot = (slot + 1) & ((1u << table_bits) - 1);
    table[slot].id = client;
    table[slot].value = value;
}

static void table_make(uint32_t entries)
{
    for (table_bits = 4; (1ull << table_bits) < 4ull * entries; table_bits++)
        ;
    table = allocate(1ull << table_bits, sizeof *table);
    for (uint64_t slot = 0; slot < 1ull << table_bits; slot++)
        table[slot].value = NOBODY;
}

/* splitmix64: the plan must be the same in every shard. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static double next_share(uint64_t *state)
{
    return (double)(next_random(state) >> 11) / 9007199254740992.0;
}

/* -- the document that the rooms start with */

static void document_range(void *context, uint64_t client, uint64_t first, uint64_t end)
{
    (void)context;
    (void)first;
    struct plan *p = &run.plan;
    uint32_t i = 0;
    while (i < p->document_clients && p->document_state[i].client != client)
        i++;
    if (i == p->document_clients) {
        p->document_state = realloc(p->document_state, ++p->document_clients * sizeof *p->document_state);
        p->document_state[i].client = client;
        p->document_state[i].end = 0;
    }
    if (end > p->document_state[i].end)
        p->document_state[i].end = (uint32_t)end;
}

static void read_document(void)
{
    struct plan *p = &run.plan;
    if (run.config.document) {
        p->document = file_read(run.config.document, &p->document_size);
        if (!update_ranges(p->document, p->document_size, document_range, NULL, NULL))
            die("%s is not a Yjs update v1", run.config.document);
    }
    if (run.config.state_vector)
        p->state_vector = file_read(run.config.state_vector, &p->state_vector_size);
}

/* -- rooms and who is in them */

static void add_room(uint32_t i, const char *name, uint32_t clients, uint32_t writers, uint32_t presence, double rate)
{
    struct room *room = &run.plan.room[i];
    snprintf(room->name, sizeof room->name, "%s", name);
    room->first = i ? room[-1].first + room[-1].clients : 0;
    room->clients = clients;
    room->writers = writers;
    room->presence = presence;
    room->rate = rate;
}

static void make_rooms(void)
{
    struct config *c = &run.config;
    struct plan *p = &run.plan;
    char name[160];
    p->rooms = c->rooms + (c->probe ? 1 : 0);
    p->room = allocate(p->rooms, sizeof *p->room);
    for (uint32_t i = 0; i < c->rooms; i++) {
        snprintf(name, sizeof name, c->rooms > 1 ? "%.120s-%u" : "%.120s", c->room, i);
        add_room(i, name, c->clients, c->writers, (uint32_t)c->presence_clients, c->rate);
    }
    if (c->probe) {
        snprintf(name, sizeof name, "%.120s-probe", c->room);
        add_room(c->rooms, name, 2, 1, 0, 200);
        p->room[c->rooms].probe = true;
    }
    p->participants = p->room[p->rooms - 1].first + p->room[p->rooms - 1].clients;
}

static void make_participants(uint64_t *random)
{
    struct plan *p = &run.plan;
    p->participant = allocate(p->participants, sizeof *p->participant);
    table_make(p->participants + p->document_clients);
    for (uint32_t i = 0; i < p->document_clients; i++)
        table_add(p->document_state[i].client, DOCUMENT | i);
    for (uint32_t r = 0; r < p->rooms; r++)
        for (uint32_t i = 0; i < p->room[r].clients; i++) {
            struct participant *who = &p->participant[p->room[r].first + i];
            do
                who->id = next_random(random) >> 32;
            while (who->id == 0 || plan_find(who->id) != NOBODY);
            who->room = r;
            who->index = i;
            who->phase = next_share(random);
            table_add(who->id, p->room[r].first + i);
        }
}

/* -- when they write */

/* The times of one writer's edits. Each step has edits at its own even pace from a random phase on, moved by up to a
 * tenth of the pace either way: people are neither in step nor clocks. Returns the number; `due` NULL only counts. */
static uint32_t write_times(const struct room *room, uint64_t random, uint32_t *due)
{
    struct plan *p = &run.plan;
    uint32_t count = 0;
    for (int step = 0; step <= run.config.steps; step++) {
        double factor = room->probe ? 1 : run.config.factor[step ? step - 1 : 0];
        double pace = 1e6 / (room->rate * factor);
        double at = (double)p->bound[step] + next_share(&random) * pace;
        for (; at < (double)p->bound[step + 1]; at += pace, count++) {
            double moved = at + (next_share(&random) - .5) * .2 * pace;
            moved = moved < (double)p->bound[step] ? (double)p->bound[step] : moved;
            moved = moved >= (double)p->bound[step + 1] ? (double)p->bound[step + 1] - 1 : moved;
            if (due)
                due[count] = (uint32_t)moved;
        }
    }
    return count;
}

static void make_schedule(uint64_t *random)
{
    struct plan *p = &run.plan;
    size_t edits = 0;
    uint64_t first_random = *random;
    for (int filling = 0; filling < 2; filling++) {
        *random = first_random;
        for (uint32_t i = 0; i < p->participants; i++) {
            struct participant *who = &p->participant[i];
            const struct room *room = &p->room[who->room];
            uint64_t seed = next_random(random);
            if (who->index >= room->writers)
                continue;
            if (!filling) {
                who->edits = edits;
                edits += who->edit_count = write_times(room, seed, NULL);
            } else {
                write_times(room, seed, p->due + who->edits);
            }
        }
        if (!filling)
            p->due = allocate(edits, sizeof *p->due);
    }
}

int64_t presence_due(const struct participant *p, uint32_t clock)
{
    return (int64_t)((p->phase + clock - 1) * 1e6 / run.config.presence_rate);
}

/* How many of the first `sent` edits are due in [from, to). */
static uint64_t edits_between(const struct participant *who, uint32_t sent, int64_t from, int64_t to)
{
    uint64_t before[2];
    for (int i = 0; i < 2; i++) {
        uint32_t low = 0, high = sent;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (run.plan.due[who->edits + middle] < (i ? to : from))
                low = middle + 1;
            else
                high = middle;
        }
        before[i] = low;
    }
    return before[1] - before[0];
}

/* Each connection of this process should get every edit in its room but its own. */
uint64_t plan_expected(int64_t from, int64_t to, bool probe)
{
    uint64_t expected = 0;
    for (uint32_t r = 0; r < run.plan.rooms; r++) {
        const struct room *room = &run.plan.room[r];
        if (room->probe != probe)
            continue;
        for (uint32_t w = 0; w < room->writers; w++) {
            uint64_t edits = edits_between(&run.plan.participant[room->first + w], sent_by(room->first + w), from, to);
            bool ours = w % (uint32_t)run.config.shards == (uint32_t)run.config.shard;
            expected += edits * (room->here - ours);
        }
    }
    return expected;
}

void plan_make(void)
{
    struct config *c = &run.config;
    struct plan *p = &run.plan;
    uint64_t random = c->seed * 0x2545f4914f6cdd1dull + 1;
    p->bound[1] = (int64_t)(c->warmup * 1e6);
    for (int step = 1; step <= c->steps; step++)
        p->bound[step + 1] = p->bound[1] + (int64_t)(c->duration * 1e6 * step / c->steps);
    if (p->bound[c->steps + 1] > 4000000000)
        die("config: a run lasts at most 4000 seconds");
    read_document();
    make_rooms();
    make_participants(&random);
    make_schedule(&random);
}
