/* The course of a run: fill the rooms, connect, type by the schedule, wait for what is outstanding, check with late
 * joiners. One thread; everything waits in `pump`. */
#include "load.h"
#include "shards.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, PER_SOURCE = 20000 };
static const int64_t SECOND = 1000000000;

/* -- sockets */

static void connection_open(struct connection *c)
{
    static uint32_t opened;
    char host[64];
    const char *target = run.config.target[c->target], *colon = strrchr(target, ':');
    snprintf(host, sizeof host, "%.*s", colon ? (int)(colon - target) : 0, target);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon ? colon + 1 : "0"))};
    if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &to.sin_addr) != 1)
        die("target %s is not an IPv4 address and port", target);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    uint32_t source = opened++ / PER_SOURCE; /* an address has 28,000 ports to connect from; loopback has many addresses */
    if (source > 0 && (ntohl(to.sin_addr.s_addr) >> 24) == 127) {
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001 + source)};
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
            die("bind: %s", strerror(errno));
    }
    c->ws.fd = fd;
    c->state = CONNECTING;
    c->opened = now_ns();
    run.in_flight++;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) {
        run_error("connect: %s", strerror(errno));
        connection_close(c);
        return;
    }
    ws_watch(&c->ws, true);
}

static void send_request(struct connection *c)
{
    static struct bytes request;
    char rest[400];
    request.size = 0;
    bytes_add(&request, "GET ", 4);
    for (const char *at = run.config.path; *at;) {
        bool named = strncmp(at, "{room}", 6) == 0; /* every one: there are servers that want the name twice */
        bytes_add(&request, named ? c->room->name : at, named ? strlen(c->room->name) : 1);
        at += named ? 6 : 1;
    }
    int length = snprintf(rest, sizeof rest,
                          " HTTP/1.1\r\nHost: %.200s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                          run.config.target[c->target]);
    bytes_add(&request, rest, (size_t)length);
    ws_write(&c->ws, request.data, request.size);
    ws_flush(&c->ws);
}

/* The TCP connection is there, or has failed: ask for the websocket. */
static void connection_writable(struct connection *c)
{
    if (c->state != CONNECTING) {
        ws_flush(&c->ws);
        return;
    }
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->ws.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        run_error("connect: %s", strerror(error));
        connection_close(c);
        return;
    }
    c->state = UPGRADING;
    send_request(c);
}

/* -- the loop */

static void progress(int64_t now)
{
    static int64_t next;
    static uint64_t seen;
    if (now < next)
        return;
    double at = run.start ? (double)(now - run.start) / (double)SECOND : 0;
    if (next)
        fprintf(stderr, "t=%.1f open=%u closed=%u deliveries=%llu (+%llu) gaps=%llu duplicates=%llu\n", at, run.open,
                run.closed, (unsigned long long)run.delivered, (unsigned long long)(run.delivered - seen),
                (unsigned long long)run.gaps, (unsigned long long)run.duplicates);
    seen = run.delivered;
    next = now + SECOND;
}

/* So long no socket was looked at: it was busy, or woken too late. */
static void note_round(int64_t nanoseconds)
{
    if (run.start && nanoseconds > run.longest_round)
        run.longest_round = nanoseconds;
}

/* Wait for sockets until `until` at the latest, and serve those that are ready. */
static void pump(int64_t until)
{
    static int64_t woken;
    struct epoll_event ready[BATCH];
    int64_t now = now_ns(), wait = until > now ? until - now : 0;
    note_round(now - woken);
    progress(now);
    struct timespec limit = {wait / SECOND, wait % SECOND};
    int count = epoll_pwait2(ws_epoll, ready, BATCH, &limit, NULL);
    woken = now_ns();
    note_round(woken - now - wait);
    for (int i = 0; i < count; i++) {
        struct connection *c = run.connection[ready[i].data.u64];
        if (c->ws.fd >= 0 && (ready[i].events & EPOLLOUT))
            connection_writable(c);
        if (c->ws.fd >= 0 && (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
            connection_readable(c);
    }
}

static void pump_for(double seconds)
{
    for (int64_t end = now_ns() + (int64_t)(seconds * 1e9); now_ns() < end;)
        pump(end);
}

/* Open the connections from `first` on at the configured rate, and wait until each has synced or failed. */
static void open_all(uint32_t first)
{
    int64_t pace = (int64_t)(1e9 / run.config.connect_rate), next = now_ns();
    int64_t deadline = next + (int64_t)(run.config.connect_timeout * 1e9) + pace * (run.connections - first);
    while (first < run.connections || run.in_flight) {
        int64_t now = now_ns();
        if (now > deadline) {
            run_error("%u connections did not sync within %.0f s", run.in_flight, run.config.connect_timeout);
            return;
        }
        if (first < run.connections && now >= next && run.in_flight < run.config.in_flight) {
            connection_open(run.connection[first++]);
            next += pace;
            pump(now);
        } else {
            bool may_open = first < run.connections && run.in_flight < run.config.in_flight;
            pump(may_open && next < now + SECOND / 10 ? next : now + SECOND / 10);
        }
    }
}

/* -- filling the rooms and connecting */

static bool all_have(enum role role)
{
    for (uint32_t i = 0; i < run.connections; i++)
        if (run.connection[i]->role == role && !run.connection[i]->synced && run.connection[i]->state != CLOSED)
            return false;
    return true;
}

static bool documents_sent(void)
{
    for (uint32_t i = 0; i < run.connections; i++)
        if (run.connection[i]->role == SEEDER && !run.connection[i]->document_sent)
            return false;
    return true;
}

static void close_all(enum role role)
{
    for (uint32_t i = 0; i < run.connections; i++)
        if (run.connection[i]->role == role && run.connection[i]->state != CLOSED)
            connection_close(run.connection[i]);
}

/* Give each room its document, and see from a second connection that the server has it. The first stays until others
 * are there: some servers forget a document that nobody has open. */
static void fill_rooms(void)
{
    int64_t deadline = now_ns() + (int64_t)(run.config.connect_timeout * 1e9);
    for (enum role role = SEEDER; role <= CHECKER && !run.closed; role++) {
        uint32_t first = run.connections;
        for (uint32_t room = 0; room < run.config.rooms; room++)
            connection_new(role, room, NULL, room);
        open_all(first);
        while (now_ns() < deadline && !run.closed && !(role == SEEDER ? documents_sent() : all_have(CHECKER)))
            pump(now_ns() + SECOND / 20);
    }
    if (run.closed || !documents_sent() || !all_have(CHECKER))
        die("the server did not take the document within %.0f s: %s", run.config.connect_timeout,
            run.errors ? run.error[0] : "others cannot read it");
    close_all(CHECKER);
}

static void connect_all(void)
{
    struct plan *p = &run.plan;
    uint32_t first = run.connections;
    struct cpu cpu;
    cpu_read(&cpu, run.config.pid, run.config.pids);
    int64_t began = now_ns(), used = cpu.total;
    for (uint32_t i = 0; i < p->participants; i++) {
        const struct participant *who = &p->participant[i];
        if (who->index % (uint32_t)run.config.shards == (uint32_t)run.config.shard)
            connection_new(REGULAR, who->room, who, who->index + who->room);
    }
    open_all(first);
    run.connect_seconds = (double)(now_ns() - began) / 1e9;
    cpu_read(&cpu, run.config.pid, run.config.pids);
    run.connect_cpu = cpu.total - used;
    run.connected = run.open;
    if (run.connected)
        close_all(SEEDER);
    for (uint32_t i = first; i < run.connections; i++)
        if (run.connection[i]->state == OPEN)
            p->room[run.connection[i]->self->room].here++;
    for (uint32_t i = first; i < run.connections; i++)
        for (uint32_t w = 0; w < run.connection[i]->room->writers; w++)
            if (run.connection[i]->known[w])
                die("room %s already holds edits of this seed: use another room or seed", run.connection[i]->room->name);
}

/* -- the schedule: a heap of what is due next, one entry for each writer and purpose */

enum purpose { EDIT, PRESENCE, SAVE, MARK, JOIN };
struct event { uint32_t due; enum purpose purpose; uint32_t which, count; }; /* which: connection, or step of a MARK */

static struct event *heap;
static uint32_t heap_size;

static void heap_push(struct event event)
{
    static uint32_t capacity;
    if (heap_size == capacity) {
        capacity = capacity ? capacity * 2 : 1024;
        heap = realloc(heap, capacity * sizeof *heap);
    }
    uint32_t i = heap_size++;
    for (; i && heap[(i - 1) / 2].due > event.due; i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = event;
}

static struct event heap_pop(void)
{
    struct event top = heap[0], last = heap[--heap_size];
    uint32_t i = 0;
    for (uint32_t child; (child = 2 * i + 1) < heap_size; i = child) {
        child += child + 1 < heap_size && heap[child + 1].due < heap[child].due;
        if (heap[child].due >= last.due)
            break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

static uint32_t schedule_end(void)
{
    return (uint32_t)run.plan.bound[run.config.steps + 1];
}

static void push_next(struct event e)
{
    if (e.due < schedule_end())
        heap_push(e);
}

static void do_edit(struct event e, uint32_t now)
{
    struct connection *c = run.connection[e.which];
    if (c->state != OPEN)
        return;
    send_edit(c);
    shards_sent(c->self, c->written);
    if (c->barrier_wanted)
        send_barrier(c, e.due);
    c->barrier_wanted = false;
    int at = step_at(e.due);
    (c->room->probe ? &run.probe[at > 0] : &run.step[at])->sent++;
    if (at > 0)
        histogram_add(&run.lateness, (int64_t)now - e.due);
    if (c->written < c->self->edit_count) {
        e.due = run.plan.due[c->self->edits + c->written];
        heap_push(e);
    }
}

/* The beginning of a measured step, or the end of the last. */
static void do_mark(struct event e)
{
    struct cpu cpu;
    cpu_read(&cpu, run.config.pid, run.config.pids);
    if (e.which == 1) {
        run.cpu_start = cpu;
        run.generator_cpu = cpu_own();
        run.longest_round = 0;
        run.window_frames = run.frames;
        run.window_bytes = run.bytes;
        run.window_arrivals = run.delivered;
    }
    struct step *ended = &run.step[e.which - 1];
    ended->server_cpu = cpu.total - ended->server_cpu;
    ended->arrivals = run.delivered - ended->arrivals;
    if ((int)e.which <= run.config.steps) {
        ended[1].server_cpu = cpu.total;
        ended[1].arrivals = run.delivered;
    }
}

static void do_join(struct event e)
{
    struct cpu cpu;
    if (e.count == 0) {
        cpu_read(&cpu, run.config.pid, run.config.pids);
        run.join_cpu = cpu.total;
    }
    connection_open(run.connection[e.which]);
}

static void act(struct event e, uint32_t now)
{
    struct connection *c = e.purpose == MARK ? NULL : run.connection[e.which];
    switch (e.purpose) {
    case EDIT:
        do_edit(e, now);
        break;
    case PRESENCE:
        if (c->state == OPEN)
            send_presence(c, ++e.count);
        e.due = (uint32_t)presence_due(c->self, e.count + 1);
        push_next(e);
        break;
    case SAVE:
        if (c->self->edit_count)
            c->barrier_wanted = true; /* behind its next edit: it asks for that one */
        else if (c->state == OPEN)
            send_barrier(c, e.due);
        e.due += (uint32_t)(1e6 / run.config.barriers);
        push_next(e);
        break;
    case MARK:
        do_mark(e);
        break;
    case JOIN:
        do_join(e);
        break;
    }
}

/* Joiners come a tenth into the measured time, at once or spread over eight tenths of it. */
static void schedule_joiners(void)
{
    uint32_t first = run.connections;
    double window = (double)(schedule_end() - run.plan.bound[1]);
    for (uint32_t i = 0; i < run.config.joiners; i++) {
        if (i % (uint32_t)run.config.shards != (uint32_t)run.config.shard)
            continue;
        double share = .1 + (run.config.join_at_once ? 0 : .8 * i / run.config.joiners);
        connection_new(JOINER, i % run.config.rooms, NULL, i);
        run.joiners++;
        heap_push((struct event){(uint32_t)((double)run.plan.bound[1] + share * window), JOIN, run.connections - 1,
                                 run.connections - 1 - first});
    }
}

static void make_events(void)
{
    for (uint32_t i = 0; i < run.connections; i++) {
        struct connection *c = run.connection[i];
        if (c->role != REGULAR || c->state != OPEN)
            continue;
        if (c->self->edit_count)
            heap_push((struct event){run.plan.due[c->self->edits], EDIT, i, 0});
        if (c->self->index < c->room->presence)
            push_next((struct event){(uint32_t)presence_due(c->self, 1), PRESENCE, i, 0});
        if ((c->self->edit_count || run.config.all_ask) && run.config.barriers > 0 && !c->room->probe)
            push_next((struct event){(uint32_t)(c->self->phase * 1e6 / run.config.barriers), SAVE, i, 0});
    }
    for (int step = 1; step <= run.config.steps + 1; step++)
        heap_push((struct event){(uint32_t)run.plan.bound[step], MARK, (uint32_t)step, 0});
    schedule_joiners();
}

/* -- the measured time */

static uint32_t elapsed(void)
{
    int64_t now = (now_ns() - run.start) / 1000;
    return now < 0 ? 0 : (uint32_t)now;
}

static void follow_schedule(void)
{
    make_events();
    while (heap_size) {
        uint32_t now = elapsed();
        for (int sent = 0; heap_size && heap[0].due <= now && sent < 2 * BATCH; sent++)
            act(heap_pop(), now);
        pump(heap_size ? run.start + (int64_t)heap[0].due * 1000 : 0);
    }
}

static bool outstanding(void)
{
    uint64_t due = plan_expected(0, INT64_MAX, false) + plan_expected(0, INT64_MAX, true);
    return run.delivered < due || run.barriers_open || run.joined < run.joiners;
}

static void drain(void)
{
    int64_t began = now_ns(), end = began + (int64_t)(run.config.drain * 1e9);
    int64_t least = began + (run.config.presence_rate > 0 ? SECOND / 5 : 0); /* how much presence is to come nobody knows */
    while (now_ns() < least || (outstanding() && now_ns() < end))
        pump(now_ns() + SECOND / 1000);
    run.drain_seconds = (double)(now_ns() - began) / 1e9;
    cpu_read(&run.cpu_end, run.config.pid, run.config.pids);
    run.generator_cpu = cpu_own() - run.generator_cpu;
    run.window_longest_round = run.longest_round;
    run.window_frames = run.frames - run.window_frames;
    run.window_bytes = run.bytes - run.window_bytes;
    run.window_arrivals = run.delivered - run.window_arrivals;
    run.window_seconds = (double)(schedule_end() - run.plan.bound[1]) / 1e6;
    pump_for(.2); /* whatever is sent twice, and joins without being waited for */
}

/* Those who come when all is over must find all of it. */
static void join_late(void)
{
    if (run.config.shard != 0)
        return;
    uint32_t first = run.connections;
    for (uint32_t i = 0; i < run.config.late; i++)
        connection_new(LATE, i % run.config.rooms, NULL, i);
    open_all(first);
    int64_t end = now_ns() + (int64_t)(run.config.drain * 1e9);
    for (;;) {
        run.late_ok = 0;
        for (uint32_t i = first; i < run.connections; i++)
            run.late_ok += has_everything(run.connection[i]);
        if (run.late_ok == run.config.late || now_ns() >= end)
            return;
        pump(now_ns() + SECOND / 100);
    }
}

static void check_converged(void)
{
    run.converged = run.corrupted == 0 && run.misrouted == 0 && run.malformed == 0;
    for (uint32_t i = 0; i < run.connections; i++)
        if (run.connection[i]->role == REGULAR)
            run.converged &= has_everything(run.connection[i]);
}

/* -- */

static void hold_idle(void)
{
    printf("{\"connected\": %u, \"connect_seconds\": %.3f, \"connect_cpu\": %.6f}\n", run.connected, run.connect_seconds,
           (double)run.connect_cpu / 1e9);
    fflush(stdout);
    struct pollfd input = {0, POLLIN, 0};
    char discard[256];
    for (;;) {
        if (poll(&input, 1, 0) > 0 && read(0, discard, sizeof discard) <= 0)
            return;
        pump(now_ns() + SECOND / 10);
    }
}

void scenario(void)
{
    ws_start();
    plan_make();
    shards_open();
    if (run.plan.document && run.config.shard == 0)
        fill_rooms();
    shards_meet(FILLED, pump);
    connect_all();
    if (run.config.idle_only) {
        hold_idle();
        return;
    }
    run.start = shards_start(pump);
    follow_schedule();
    drain();
    shards_meet(DRAINED, pump);
    join_late();
    check_converged();
    shards_meet(FINISHED, pump);
}
