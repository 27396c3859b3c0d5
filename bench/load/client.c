/* What one client does with the messages it gets: counts what is new in them, and answers as a stock client does. */
#include "load.h"
#include <unistd.h>

enum { SYNC = 0, AWARENESS = 1, AUTH = 2, SYNC_REPLY = 4, HOCUSPOCUS_CLOSE = 7, PING = 9, PONG = 10, BARRIER = 102 };
enum { STEP1 = 0, STEP2 = 1, UPDATE = 2 };

static void on_message(struct ws *ws, int opcode, uint8_t *payload, size_t size);
static bool on_head(struct ws *ws, const char *head, size_t size);
static const struct ws_events events = {on_head, on_message};

/* -- life of a connection */

/* What a joiner with a state vector need not be told. */
static void read_state_vector(struct connection *c)
{
    struct plan *p = &run.plan;
    struct reader r = {p->state_vector, p->state_vector + p->state_vector_size, false};
    for (uint64_t left = read_uint(&r); left && !r.failed; left--) {
        uint32_t value = plan_find(read_uint(&r));
        uint32_t clock = (uint32_t)read_uint(&r);
        if (value == NOBODY || !(value & DOCUMENT))
            continue;
        uint32_t end = p->document_state[value & ~DOCUMENT].end;
        c->known[c->room->writers + (value & ~DOCUMENT)] = clock < end ? clock : end;
        c->missing -= clock < end ? clock : end;
    }
}

struct connection *connection_new(enum role role, uint32_t room, const struct participant *self, uint32_t target)
{
    struct connection *c = allocate(1, sizeof *c);
    run.connection = realloc(run.connection, (run.connections + 1) * sizeof *run.connection);
    run.connection[run.connections] = c;
    c->ws = (struct ws){.fd = -1, .masks = true, .tag = run.connections++};
    c->role = role;
    c->room = &run.plan.room[room];
    c->self = self;
    c->target = target % (uint32_t)run.config.targets;
    /* Ordinary connections get the document too, but only those that are there to receive it check it clock by clock. */
    bool checks = role != REGULAR && role != SEEDER && !c->room->probe;
    c->known_size = c->room->writers + (checks ? run.plan.document_clients : 0);
    c->known = allocate(c->known_size, sizeof *c->known);
    if (c->room->presence)
        c->presence = allocate(c->room->presence, sizeof *c->presence);
    for (uint32_t i = 0; checks && i < run.plan.document_clients; i++)
        c->missing += run.plan.document_state[i].end;
    if (role == JOINER && run.plan.state_vector)
        read_state_vector(c);
    return c;
}

void connection_close(struct connection *c)
{
    if (c->state == CONNECTING || c->state == UPGRADING || c->state == SYNCING)
        run.in_flight--;
    if (c->state == OPEN && c->role == REGULAR)
        run.open--;
    c->state = CLOSED;
    ws_drop(&c->ws);
}

/* The server ended it, or never began. */
static void lost(struct connection *c, const char *how, int code)
{
    run.closed++;
    run_error("connection %u of room %s: %s %d", (uint32_t)c->ws.tag, c->room->name, how, code);
    connection_close(c);
}

void connection_readable(struct connection *c)
{
    run.now = -1; /* not looked at yet */
    long got = ws_receive(&c->ws, &events);
    if (c->ws.fd < 0)
        return;
    if (got < 0) {
        lost(c, c->state == OPEN ? "ended in state" : "refused in state", c->state);
        return;
    }
    run.bytes += (uint64_t)got;
    c->bytes += (uint64_t)got;
    if (c->synced && !c->bytes_at_sync)
        c->bytes_at_sync = c->bytes;
}

static bool on_head(struct ws *ws, const char *head, size_t size)
{
    struct connection *c = run.connection[ws->tag];
    if (size < 12 || memcmp(head, "HTTP/1.1 101", 12) != 0) {
        run_error("the server answered: %.40s", head);
        return false;
    }
    c->state = SYNCING;
    send_greeting(c);
    return true;
}

/* -- sending */

static struct bytes message; /* the one being written */

static void message_begin(const struct connection *c, int kind)
{
    message.size = 0;
    if (run.config.hocuspocus)
        bytes_string(&message, c->room->name, strlen(c->room->name));
    bytes_uint(&message, (uint64_t)kind);
}

static void message_send(struct connection *c)
{
    ws_send(&c->ws, WS_BINARY, message.data, message.size);
}

static void send_sync(struct connection *c, int step, const void *payload, size_t size)
{
    message_begin(c, SYNC);
    bytes_uint(&message, (uint64_t)step);
    bytes_string(&message, payload, size);
    message_send(c);
}

/* What a client says first. */
void send_greeting(struct connection *c)
{
    const struct plan *p = &run.plan;
    if (run.config.hocuspocus) {
        message_begin(c, AUTH);
        bytes_uint(&message, 0); /* a token follows, then the version of the provider */
        bytes_string(&message, run.config.token, strlen(run.config.token));
        bytes_string(&message, "4.7.0", 5);
        message_send(c);
    }
    if (c->role == JOINER && p->state_vector)
        send_sync(c, STEP1, p->state_vector, p->state_vector_size);
    else
        send_sync(c, STEP1, "\0", 1);
    if (c->self && c->self->index < c->room->presence)
        send_presence(c, 0);
}

void send_edit(struct connection *c)
{
    static struct bytes update;
    update.size = 0;
    write_typed(&update, c->self->id, c->written, c->written + 1);
    send_sync(c, UPDATE, update.data, update.size);
    c->written++;
}

/* Clock 0 is the empty state that y-protocols starts with; then what y-quill tells, about 230 bytes. */
void send_presence(struct connection *c, uint32_t clock)
{
    static struct bytes states;
    char state[400] = "{}";
    if (clock > 0) {
        unsigned long long id = c->self->id;
        unsigned at = c->written;
        snprintf(state, sizeof state,
                 "{\"user\":{\"name\":\"Writer %u\",\"color\":\"#30bced\"},\"cursor\":{"
                 "\"anchor\":{\"type\":null,\"tname\":\"quill\",\"item\":{\"client\":%llu,\"clock\":%u},\"assoc\":0},"
                 "\"head\":{\"type\":null,\"tname\":\"quill\",\"item\":{\"client\":%llu,\"clock\":%u},\"assoc\":0}}}",
                 c->self->index, id, at, id, at);
        run.presence_sent += step_at(presence_due(c->self, clock)) > 0;
    }
    states.size = 0;
    bytes_uint(&states, 1);
    bytes_uint(&states, c->self->id);
    bytes_uint(&states, clock);
    bytes_string(&states, state, strlen(state));
    message_begin(c, AWARENESS);
    bytes_string(&message, states.data, states.size);
    message_send(c);
    c->presence[c->self->index] = clock * 2 + 1;
}

/* Message 102: the server sends it back when everything before it is on disk. It says whose it is, so that one which
 * comes back to somebody else is not taken for an answer. */
void send_barrier(struct connection *c, uint32_t due)
{
    static struct bytes number;
    number.size = 0;
    bytes_uint(&number, c->barriers);
    bytes_uint(&number, c->ws.tag);
    message_begin(c, BARRIER);
    bytes_string(&message, number.data, number.size);
    message_send(c);
    c->barrier_due = realloc(c->barrier_due, (c->barriers + 1) * sizeof *c->barrier_due);
    c->barrier_due[c->barriers++] = due;
    run.barriers_open++;
}

/* -- receiving: documents */

int step_at(int64_t due)
{
    static int last; /* deliveries come in order of time, nearly */
    while (last > 0 && due < run.plan.bound[last])
        last--;
    while (last < run.config.steps && due >= run.plan.bound[last + 1])
        last++;
    return last;
}

/* Clocks [first, end) of a writer, or of a client of the document, have reached this connection for the first time. */
static void delivered(struct connection *c, uint32_t index, uint32_t first, uint32_t end)
{
    if (index >= c->room->writers) {
        c->missing -= end - first;
        return;
    }
    const struct participant *writer = &run.plan.participant[c->room->first + index];
    if (end > writer->edit_count) {
        run.corrupted += end - first; /* nobody was to write this */
        return;
    }
    if (c->role != REGULAR)
        return;
    const uint32_t *due = run.plan.due + writer->edits;
    for (uint32_t clock = first; clock < end; clock++) {
        int at = step_at(due[clock]);
        struct step *step = c->room->probe ? &run.probe[at > 0] : &run.step[at];
        step->deliveries++;
        histogram_add(&step->latency, run.now - (int64_t)due[clock]);
    }
    run.delivered += end - first;
}

/* The rare case: something older is still missing. The ranges ahead of it are kept, so that nothing counts twice. */
static void learn_ahead(struct connection *c, uint32_t index, uint32_t first, uint32_t end)
{
    struct ahead whole = {index, first, end};
    for (uint32_t clock = first; clock < end;) {
        uint32_t stop = end, covered = 0;
        for (uint32_t i = 0; i < c->ahead_count; i++) {
            struct ahead *a = &c->ahead[i];
            if (a->index == index && a->first <= clock && clock < a->end)
                covered = a->end;
            else if (a->index == index && a->first > clock && a->first < stop)
                stop = a->first;
        }
        if (covered) {
            stop = covered < end ? covered : end;
            run.duplicates += c->role == REGULAR ? stop - clock : 0;
        } else {
            delivered(c, index, clock, stop);
        }
        clock = stop;
    }
    for (uint32_t i = 0; i < c->ahead_count; i++) {
        struct ahead *a = &c->ahead[i];
        if (a->index != index || a->first > end || a->end < first)
            continue;
        whole.first = a->first < whole.first ? a->first : whole.first;
        whole.end = a->end > whole.end ? a->end : whole.end;
        *a = c->ahead[--c->ahead_count];
        i--;
    }
    if (whole.first <= c->known[index]) {
        c->known[index] = whole.end;
        return;
    }
    if (whole.first == first && c->role == REGULAR)
        run.gaps++;
    c->ahead = realloc(c->ahead, (c->ahead_count + 1) * sizeof *c->ahead);
    c->ahead[c->ahead_count++] = whole;
}

/* A writer's own edits that the server sends back to it. */
static void echoed(struct connection *c, uint64_t first, uint64_t end)
{
    first = first > c->echoed ? first : c->echoed;
    for (; first < end && first < c->written; first++)
        run.echoes += !c->room->probe && step_at(run.plan.due[c->self->edits + first]) > 0;
    c->echoed = first > c->echoed ? (uint32_t)first : c->echoed;
}

/* Where a client id stands in c->known; NOBODY when its edits are none that this connection waits for. */
static uint32_t place_of(const struct connection *c, uint32_t value, uint64_t edits)
{
    if (value & DOCUMENT) {
        uint32_t place = c->room->writers + (value & ~DOCUMENT);
        return place < c->known_size ? place : NOBODY;
    }
    const struct participant *writer = &run.plan.participant[value];
    if (&run.plan.room[writer->room] == c->room && writer->index < c->room->writers)
        return writer->index;
    run.misrouted += edits;
    return NOBODY;
}

/* Clocks [first, end) of a client are in a message. */
static void learn(struct connection *c, uint32_t value, uint64_t first, uint64_t end)
{
    if (first == end || value == NOBODY)
        return;
    if (c->self && value == (uint32_t)(c->self - run.plan.participant)) {
        echoed(c, first, end);
        return;
    }
    uint32_t place = place_of(c, value, end - first);
    if (place == NOBODY)
        return;
    uint32_t known = c->known[place];
    bool counts = c->role == REGULAR;
    if (end <= known) {
        run.duplicates += counts ? end - first : 0;
        return;
    }
    if (first < known) {
        run.overlaps += counts ? known - first : 0;
        first = known;
    }
    if (first > known || c->ahead_count) {
        learn_ahead(c, place, (uint32_t)first, (uint32_t)end);
        return;
    }
    c->known[place] = (uint32_t)end;
    delivered(c, place, (uint32_t)first, (uint32_t)end);
}

/* What the writers type is known, so the text itself is compared as well. */
static void check_text(struct reader text, uint64_t clock)
{
    for (; text.at < text.end; text.at++, clock++)
        run.corrupted += *text.at != letter_at(clock);
}

static void read_update(struct connection *c, struct reader r)
{
    struct item item;
    for (uint64_t sections = read_uint(&r); sections && !r.failed; sections--) {
        uint64_t left = read_uint(&r), client = read_uint(&r), first = read_uint(&r), end = first;
        uint32_t value = plan_find(client);
        for (; left && !r.failed; left--) {
            read_item(&r, &item);
            if (item.kind == SKIP) {
                learn(c, value, first, end);
                first = end + item.length;
            } else if (item.kind == STRING && !(value & DOCUMENT)) {
                check_text(item.text, end);
            }
            end += item.length;
        }
        if (!r.failed)
            learn(c, value, first, end);
    }
    read_deletes(&r, NULL, NULL);
    if (r.failed || r.at != r.end)
        run.malformed++;
}

/* The server asks what it lacks: tell it. */
static void answer_step1(struct connection *c, struct reader vector)
{
    static struct bytes update;
    uint32_t first = 0, there = 0;
    for (uint64_t left = read_uint(&vector); left && !vector.failed; left--) {
        uint64_t client = read_uint(&vector), clock = read_uint(&vector);
        uint32_t value = plan_find(client);
        if (c->self && client == c->self->id)
            first = (uint32_t)clock;
        if (value != NOBODY && (value & DOCUMENT) && clock >= run.plan.document_state[value & ~DOCUMENT].end)
            there++;
    }
    if (c->role == SEEDER && run.plan.document) {
        c->document_sent = true;
        if (there < run.plan.document_clients) { /* else the room was filled before: in pieces, if it is large */
            send_sync(c, STEP2, run.plan.document, run.plan.document_size);
            return;
        }
    }
    update.size = 0;
    write_typed(&update, c->self ? c->self->id : 0, first, c->written);
    send_sync(c, STEP2, update.data, update.size);
}

/* It has the document: what it was told to have, and the server's word that there is no more. */
static void is_synced(struct connection *c)
{
    if (c->state == SYNCING) {
        c->state = OPEN;
        run.in_flight--;
        run.open += c->role == REGULAR;
    }
    if (!c->synced && c->step2 && c->missing == 0) {
        c->synced = now_ns();
        if (c->role == JOINER && ++run.joined == run.joiners) {
            struct cpu cpu;
            cpu_read(&cpu, run.config.pid, run.config.pids);
            run.join_cpu = cpu.total - run.join_cpu;
        }
    }
}

static void receive_sync(struct connection *c, struct reader *r)
{
    uint64_t step = read_uint(r);
    struct reader payload = read_string(r);
    if (r->failed) {
        run.malformed++;
    } else if (step == STEP1) {
        answer_step1(c, payload);
    } else {
        read_update(c, payload);
        c->step2 |= step == STEP2;
        if (c->step2 && !c->synced)
            is_synced(c);
    }
}

/* -- receiving: the rest */

/* y-protocols awareness.js: what is newer than what we have, and a removal of what we have, counts. */
static bool state_is_new(struct connection *c, uint64_t id, uint64_t clock, struct reader state)
{
    uint32_t value = plan_find(id);
    if (value & DOCUMENT)
        return false;
    const struct participant *who = &run.plan.participant[value];
    if (&run.plan.room[who->room] != c->room || who->index >= c->room->presence)
        return false;
    uint32_t *known = &c->presence[who->index];
    bool removed = state.end - state.at == 4 && memcmp(state.at, "null", 4) == 0;
    if (clock < *known >> 1 || (clock == *known >> 1 && !(removed && (*known & 1))))
        return false;
    *known = (uint32_t)clock * 2 + !removed;
    if (!removed && run.start && c->role == REGULAR) {
        int64_t due = presence_due(who, (uint32_t)clock);
        if (step_at(due) > 0) {
            run.presence_received++;
            histogram_add(&run.presence_latency, run.now - due);
        }
    }
    return true;
}

static void receive_presence(struct connection *c, struct reader *outer)
{
    static struct bytes changed;
    struct reader r = read_string(outer);
    uint64_t changes = 0;
    changed.size = 0;
    if (!c->presence)
        return;
    for (uint64_t left = read_uint(&r); left && !r.failed; left--) {
        const uint8_t *entry = r.at;
        uint64_t id = read_uint(&r), clock = read_uint(&r);
        struct reader state = read_string(&r);
        if (!r.failed && state_is_new(c, id, clock, state)) {
            changes++;
            bytes_add(&changed, entry, (size_t)(r.at - entry));
        }
    }
    run.malformed += r.failed;
    if (!changes || !run.config.echo)
        return;
    static struct bytes body;
    body.size = 0;
    bytes_uint(&body, changes);
    bytes_add(&body, changed.data, changed.size);
    message_begin(c, AWARENESS);
    bytes_string(&message, body.data, body.size);
    message_send(c);
    run.presence_echoed += changes;
}

static void receive_barrier(struct connection *c, struct reader *r)
{
    struct reader payload = read_string(r);
    uint64_t number = read_uint(&payload), whose = read_uint(&payload);
    if (payload.failed || whose != c->ws.tag || number >= c->barriers || c->barrier_due[number] == NOBODY) {
        run.malformed++;
        return;
    }
    if (step_at(c->barrier_due[number]) > 0)
        histogram_add(c->self->edit_count ? &run.saved : &run.seen_saved, run.now - (int64_t)c->barrier_due[number]);
    c->barrier_due[number] = NOBODY;
    run.barriers_open--;
}

static void receive(struct connection *c, struct reader r)
{
    if (run.config.hocuspocus)
        read_string(&r); /* the document's name: one connection has only one */
    switch (read_uint(&r)) {
    case SYNC:
        receive_sync(c, &r);
        break;
    case SYNC_REPLY:
        if (run.config.hocuspocus)
            receive_sync(c, &r);
        break;
    case AWARENESS:
        receive_presence(c, &r);
        break;
    case AUTH:
        if (!run.config.hocuspocus || read_uint(&r) == 1)
            run_error("room %s: permission denied", c->room->name);
        break;
    case HOCUSPOCUS_CLOSE:
        if (run.config.hocuspocus)
            lost(c, "document closed in state", c->state);
        break;
    case PING:
        if (run.config.hocuspocus) {
            message_begin(c, PONG);
            message_send(c);
        }
        break;
    case BARRIER:
        if (!run.config.hocuspocus)
            receive_barrier(c, &r);
        break;
    default: /* queries, acknowledgements of other servers: nothing to answer */
        break;
    }
}

static void on_message(struct ws *ws, int opcode, uint8_t *payload, size_t size)
{
    struct connection *c = run.connection[ws->tag];
    if (run.now < 0)
        run.now = run.start ? (now_ns() - run.start) / 1000 : 0;
    run.frames++;
    if (opcode == WS_BINARY)
        receive(c, (struct reader){payload, payload + size, false});
    else if (opcode == WS_PING)
        ws_send(ws, WS_PONG, payload, size);
    else if (opcode == WS_CLOSE)
        lost(c, "closed with code", size >= 2 ? payload[0] << 8 | payload[1] : 1005);
    else if (opcode == WS_TEXT)
        run.texts++;
}

bool has_everything(const struct connection *c)
{
    if (c->state != OPEN || c->ahead_count || c->missing)
        return false;
    for (uint32_t i = 0; i < c->room->writers; i++) {
        const struct participant *writer = &run.plan.participant[c->room->first + i];
        if (writer != c->self && c->known[i] != sent_by(c->room->first + i))
            return false;
    }
    return true;
}
