/* relay [--port N]: the least that a websocket server can do for a room.
 *
 * Each binary message is sent to every other connection of the same path as it is, one write per reader and message:
 * no protocol, no document, no merging, nothing stored. What it costs is what the kernel and the framing cost, the floor
 * for a server that forwards every message by itself. Sync step 1 is answered with an empty step 2, so that clients
 * consider themselves synced; whoever comes late finds nothing.
 *
 * To show that the load generator notices, it can be told to do it badly: --drop N, --duplicate N and --garble N (another
 * letter) spoil every Nth delivery of an update, --mix 1 puts all paths into one room. */
#include "ws.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 256, LISTENER = 0, FULL = 64 << 20 };

struct room {
    char *path;
    struct peer **peer;
    uint32_t peers, capacity;
};

struct peer {
    struct ws ws;
    struct room *room;
    uint32_t place; /* in the room */
};

static struct room **rooms;
static uint32_t room_count;
static uint64_t drop_each, duplicate_each, garble_each, mix, updates;

/* -- rooms */

static struct room *room_of(const char *path, size_t size)
{
    for (uint32_t i = 0; i < room_count; i++)
        if (mix || (strlen(rooms[i]->path) == size && memcmp(rooms[i]->path, path, size) == 0))
            return rooms[i];
    rooms = realloc(rooms, (room_count + 1) * sizeof *rooms);
    rooms[room_count] = allocate(1, sizeof **rooms);
    rooms[room_count]->path = strndup(path, size);
    return rooms[room_count++];
}

static void enter(struct peer *p, struct room *room)
{
    if (room->peers == room->capacity) {
        room->capacity = room->capacity ? 2 * room->capacity : 16;
        room->peer = realloc(room->peer, room->capacity * sizeof *room->peer);
    }
    p->room = room;
    p->place = room->peers;
    room->peer[room->peers++] = p;
}

static void leave(struct peer *p)
{
    struct room *room = p->room;
    if (room) {
        room->peer[p->place] = room->peer[--room->peers];
        room->peer[p->place]->place = p->place;
    }
    ws_drop(&p->ws);
}

/* -- the opening handshake (RFC 6455 4.2.2): the key's SHA-1 with a constant, in base 64 */

static uint32_t rotate(uint32_t x, int by)
{
    return x << by | x >> (32 - by);
}

static void sha1_block(uint32_t h[5], const uint8_t *block)
{
    uint32_t w[80], v[5];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 80; i++) {
        static const uint32_t constant[] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
        uint32_t f = i < 20   ? (v[1] & v[2]) | (~v[1] & v[3])
                     : i < 40 ? v[1] ^ v[2] ^ v[3]
                     : i < 60 ? (v[1] & v[2]) | (v[1] & v[3]) | (v[2] & v[3])
                              : v[1] ^ v[2] ^ v[3];
        uint32_t next = rotate(v[0], 5) + f + v[4] + constant[i / 20] + w[i];
        v[4] = v[3];
        v[3] = v[2];
        v[2] = rotate(v[1], 30);
        v[1] = v[0];
        v[0] = next;
    }
    for (int i = 0; i < 5; i++)
        h[i] += v[i];
}

/* Of a text below 120 bytes: two blocks. */
static void sha1(const char *text, uint8_t digest[20])
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t blocks[128] = {0};
    size_t size = strlen(text), total = size < 56 ? 64 : 128;
    memcpy(blocks, text, size);
    blocks[size] = 0x80;
    blocks[total - 2] = (uint8_t)(size >> 5);
    blocks[total - 1] = (uint8_t)(size << 3);
    for (size_t i = 0; i < total; i += 64)
        sha1_block(h, blocks + i);
    for (int i = 0; i < 20; i++)
        digest[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

static void accept_key(const char *key, size_t size, char answer[29])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char text[120];
    uint8_t digest[21] = {0};
    snprintf(text, sizeof text, "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", size > 60 ? 60 : (int)size, key);
    sha1(text, digest);
    for (int i = 0; i < 7; i++) {
        uint32_t bits = (uint32_t)digest[3 * i] << 16 | digest[3 * i + 1] << 8 | digest[3 * i + 2];
        for (int j = 0; j < 4; j++)
            answer[4 * i + j] = digits[bits >> (18 - 6 * j) & 63];
    }
    memcpy(answer + 27, "=", 2);
}

static bool on_head(struct ws *ws, const char *head, size_t size)
{
    struct peer *p = (struct peer *)ws->tag;
    char request[4096], response[256], answer[29];
    snprintf(request, sizeof request, "%.*s", (int)size, head);
    const char *key = strcasestr(request, "\r\nSec-WebSocket-Key:");
    if (memcmp(request, "GET ", 4) != 0 || !key)
        return false;
    key += strlen("\r\nSec-WebSocket-Key:");
    key += strspn(key, " ");
    accept_key(key, strcspn(key, " \r\n"), answer);
    int length = snprintf(response, sizeof response,
                          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Accept: %s\r\n\r\n", answer);
    ws_write(ws, response, (size_t)length);
    enter(p, room_of(request + 4, strcspn(request + 4, " ?")));
    return true;
}

/* -- forwarding */

/* Every Nth. */
static bool is_due(uint64_t each)
{
    return each && updates % each == 0;
}

static void forward(struct peer *from, int opcode, const uint8_t *payload, size_t size)
{
    static struct bytes frame;
    bytes_reserve(&frame, size + 14);
    size_t length = ws_frame(frame.data, opcode, payload, size, false);
    bool update = size > 2 && payload[0] == 0 && payload[1] == 2;
    for (uint32_t i = 0; i < from->room->peers; i++) {
        struct ws *to = &from->room->peer[i]->ws;
        if (to == &from->ws)
            continue;
        updates += update;
        if (update && is_due(drop_each))
            continue;
        bool garbled = update && is_due(garble_each);
        frame.data[length - 2] ^= garbled; /* the letter stands before the empty delete set */
        ws_write(to, frame.data, length);
        frame.data[length - 2] ^= garbled;
        if (update && is_due(duplicate_each))
            ws_write(to, frame.data, length);
        if (to->out.size > FULL)
            die("a reader is too slow");
    }
}

static void on_message(struct ws *ws, int opcode, uint8_t *payload, size_t size)
{
    struct peer *p = (struct peer *)ws->tag;
    if (opcode == WS_CLOSE) {
        ws_send(ws, WS_CLOSE, payload, size < 2 ? 0 : 2);
        leave(p);
    } else if (opcode == WS_PING) {
        ws_send(ws, WS_PONG, payload, size);
    } else if (opcode == WS_BINARY && size >= 2 && payload[0] == 0 && payload[1] == 0) {
        ws_send(ws, WS_BINARY, "\0\1\2\0\0", 5);
    } else if (opcode == WS_BINARY) {
        forward(p, opcode, payload, size);
    }
}

/* -- the loop */

static void welcome(int listener)
{
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct peer *p = allocate(1, sizeof *p);
    p->ws.fd = fd;
    p->ws.tag = (uint64_t)p;
    ws_watch(&p->ws, false);
}

static int listen_at(int port)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 4096) < 0)
        die("port %d: %s", port, strerror(errno));
    getsockname(fd, (struct sockaddr *)&at, &size);
    printf("relay is ready at 127.0.0.1:%d\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

static void serve(int listener)
{
    static const struct ws_events events = {on_head, on_message};
    struct epoll_event ready[BATCH], event = {.events = EPOLLIN, .data.u64 = LISTENER};
    epoll_ctl(ws_epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(ws_epoll, ready, BATCH, -1);
        for (int i = 0; i < count; i++) {
            struct peer *p = (struct peer *)ready[i].data.u64;
            if (!p) {
                welcome(listener);
                continue;
            }
            if (p->ws.fd >= 0 && (ready[i].events & EPOLLOUT))
                ws_flush(&p->ws);
            if (p->ws.fd >= 0 && (ready[i].events & ~EPOLLOUT) && ws_receive(&p->ws, &events) < 0 && p->ws.fd >= 0)
                leave(p);
            if (p->ws.fd < 0)
                free(p); /* nobody else has it: one event a round for each socket, and it has left its room */
        }
    }
}

int main(int count, char **arguments)
{
    uint64_t port = 0;
    const struct { const char *name; uint64_t *to; } options[] = {
        {"--port", &port}, {"--drop", &drop_each}, {"--duplicate", &duplicate_each}, {"--garble", &garble_each}, {"--mix", &mix},
    };
    for (int i = 1; i < count; i += 2) {
        uint64_t *to = NULL;
        for (size_t j = 0; j < sizeof options / sizeof *options; j++)
            if (strcmp(arguments[i], options[j].name) == 0)
                to = options[j].to;
        if (!to || i + 1 == count)
            die("usage: relay [--port N] [--drop N] [--duplicate N] [--garble N] [--mix 1]");
        *to = strtoull(arguments[i + 1], NULL, 10);
    }
    ws_start();
    serve(listen_at((int)port));
}
