#include "ws.h"
#include <errno.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SHARED = 512 * 1024, LARGEST = 1 << 30 };

int ws_epoll = -1;
static uint8_t shared[SHARED];

void ws_start(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    ws_epoll = epoll_create1(EPOLL_CLOEXEC);
    if (ws_epoll < 0)
        die("epoll: %s", strerror(errno));
}

static void control(struct ws *s, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | (s->awaits_output ? EPOLLOUT : 0), .data.u64 = s->tag};
    if (epoll_ctl(ws_epoll, operation, s->fd, &event) < 0)
        die("epoll_ctl: %s", strerror(errno));
}

void ws_watch(struct ws *s, bool output)
{
    s->awaits_output = output;
    control(s, EPOLL_CTL_ADD);
}

void ws_drop(struct ws *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    bytes_free(&s->in);
    bytes_free(&s->out);
    bytes_free(&s->parts);
}

/* -- writing */

static uint32_t next_mask(void)
{
    static uint32_t state = 0x9e3779b9;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

size_t ws_frame(uint8_t *to, int opcode, const void *payload, size_t size, bool mask)
{
    size_t at = 2;
    to[0] = 0x80 | opcode;
    if (size < 126) {
        to[1] = (uint8_t)size;
    } else {
        int width = size < 65536 ? 2 : 8;
        to[1] = width == 2 ? 126 : 127;
        for (int i = width - 1; i >= 0; i--)
            to[at++] = (uint8_t)((uint64_t)size >> (8 * i));
    }
    if (!mask) {
        memcpy(to + at, payload, size);
        return at + size;
    }
    uint32_t key = next_mask();
    to[1] |= 0x80;
    memcpy(to + at, &key, 4);
    const uint8_t *mask_bytes = to + at, *from = payload;
    at += 4;
    for (size_t i = 0; i < size; i++)
        to[at + i] = from[i] ^ mask_bytes[i & 3];
    return at + size;
}

void ws_write(struct ws *s, const void *data, size_t size)
{
    if (s->fd < 0)
        return;
    ssize_t sent = 0;
    if (s->out.size == 0) {
        sent = send(s->fd, data, size, MSG_NOSIGNAL);
        if (sent == (ssize_t)size)
            return;
        if (sent < 0)
            sent = 0; /* full, or broken: the reading side will be told */
    }
    bytes_add(&s->out, (const uint8_t *)data + sent, size - sent);
    if (!s->awaits_output) {
        s->awaits_output = true;
        control(s, EPOLL_CTL_MOD);
    }
}

void ws_flush(struct ws *s)
{
    ssize_t sent = s->out.size ? send(s->fd, s->out.data, s->out.size, MSG_NOSIGNAL) : 0;
    if (sent > 0) {
        s->out.size -= sent;
        memmove(s->out.data, s->out.data + sent, s->out.size);
    }
    if (s->out.size == 0 && s->awaits_output) {
        s->awaits_output = false;
        control(s, EPOLL_CTL_MOD);
        bytes_free(&s->out);
    }
}

void ws_send(struct ws *s, int opcode, const void *payload, size_t size)
{
    static struct bytes scratch;
    bytes_reserve(&scratch, size + 14);
    ws_write(s, scratch.data, ws_frame(scratch.data, opcode, payload, size, s->masks));
}

/* -- reading */

static void unmask(uint8_t *data, size_t size, const uint8_t *key)
{
    for (size_t i = 0; i < size; i++)
        data[i] ^= key[i & 3];
}

static void deliver(struct ws *s, const struct ws_events *on, int first, uint8_t *payload, size_t size)
{
    int opcode = first & 0x0f;
    bool last = first & 0x80;
    if (opcode >= WS_CLOSE || (last && opcode != WS_CONTINUATION)) {
        on->message(s, opcode, payload, size);
        return;
    }
    if (opcode != WS_CONTINUATION) {
        s->parts.size = 0;
        s->parts_opcode = opcode;
    }
    bytes_add(&s->parts, payload, size);
    if (!last)
        return;
    struct bytes whole = s->parts; /* the callback may drop the socket */
    s->parts = (struct bytes){0};
    on->message(s, s->parts_opcode, whole.data, whole.size);
    bytes_free(&whole);
}

/* Take one frame from the start of the data; returns its size, 0 when it is not whole, -1 when it is not a frame. */
static long take_frame(struct ws *s, const struct ws_events *on, uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t head = 2, length = data[1] & 0x7f;
    if (length >= 126) {
        int width = length == 126 ? 2 : 8;
        if (size < (head += width))
            return 0;
        length = 0;
        for (int i = 0; i < width; i++)
            length = length << 8 | data[2 + i];
        if (length > LARGEST)
            return -1;
    }
    bool masked = data[1] & 0x80;
    if ((data[0] & 0x70) || masked == s->masks)
        return -1; /* no extension was agreed on; only clients mask */
    if (masked)
        head += 4;
    if (size < head + length) {
        if (s->in.size && head + length > s->in.size)
            bytes_reserve(&s->in, head + length - s->in.size);
        return 0;
    }
    if (masked)
        unmask(data + head, length, data + head - 4);
    deliver(s, on, data[0], data + head, length);
    return (long)(head + length);
}

static long take_head(struct ws *s, const struct ws_events *on, uint8_t *data, size_t size)
{
    uint8_t *end = memmem(data, size, "\r\n\r\n", 4);
    if (!end)
        return size > 65536 ? -1 : 0;
    s->upgraded = true;
    size_t head = end + 4 - data;
    return on->head(s, (const char *)data, head) ? (long)head : -1;
}

static long take_all(struct ws *s, const struct ws_events *on, uint8_t *data, size_t size)
{
    size_t done = 0;
    while (done < size) {
        long taken = s->upgraded ? take_frame(s, on, data + done, size - done) : take_head(s, on, data + done, size - done);
        if (taken < 0 || s->fd < 0)
            return -1;
        if (taken == 0)
            break;
        done += taken;
    }
    return (long)done;
}

/* Read behind the start of a frame that came before. The buffer has been made as large as the frame, if that is known. */
static long receive_rest(struct ws *s, const struct ws_events *on)
{
    bytes_reserve(&s->in, 4096);
    ssize_t got = recv(s->fd, s->in.data + s->in.size, s->in.capacity - s->in.size, 0);
    if (got <= 0)
        return got < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    s->in.size += got;
    struct bytes in = s->in;
    long taken = take_all(s, on, in.data, in.size);
    if (taken < 0)
        return -1;
    s->in.size -= taken;
    memmove(s->in.data, s->in.data + taken, s->in.size);
    if (s->in.size == 0)
        bytes_free(&s->in);
    return got;
}

long ws_receive(struct ws *s, const struct ws_events *on)
{
    if (s->in.size)
        return receive_rest(s, on);
    ssize_t got = recv(s->fd, shared, SHARED, 0);
    if (got <= 0)
        return got < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    long taken = take_all(s, on, shared, got);
    if (taken < 0)
        return -1;
    if (taken < got)
        bytes_add(&s->in, shared + taken, got - taken);
    return got;
}
