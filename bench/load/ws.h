/* RFC 6455 over non-blocking sockets, for the load generator (client) and the relay (server).
 *
 * Reading: one recv a call into one large buffer that all sockets share; whole frames are handed out where they lie, so
 * a small frame costs the system call and a few instructions. Only the rest of a frame that is not whole yet is copied
 * to the socket's own buffer. Writing: one send a frame; what the kernel does not take is kept and sent when it can. */
#ifndef BENCH_WS_H
#define BENCH_WS_H

#include "bytes.h"
#include <stdbool.h>

enum { WS_CONTINUATION = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

struct ws {
    int fd;              /* -1: not open */
    bool upgraded;       /* the HTTP part is over */
    bool masks;          /* we are the client: frames we send are masked */
    bool awaits_output;  /* EPOLLOUT is armed */
    uint64_t tag;        /* what epoll tells us about it */
    struct bytes in;     /* start of a frame whose rest has not come */
    struct bytes out;    /* what the kernel has not taken */
    struct bytes parts;  /* fragments of a message so far */
    int parts_opcode;
};

struct ws_events {
    bool (*head)(struct ws *, const char *head, size_t size); /* the HTTP head; false ends the connection */
    void (*message)(struct ws *, int opcode, uint8_t *payload, size_t size);
};

extern int ws_epoll;

void ws_start(void);                                       /* make the epoll set, raise the limit of open files */
void ws_watch(struct ws *s, bool output);                  /* add the socket to the epoll set */
long ws_receive(struct ws *s, const struct ws_events *on); /* bytes read; 0: none now; -1: the connection has ended */
size_t ws_frame(uint8_t *to, int opcode, const void *payload, size_t size, bool mask); /* needs size + 14 bytes */
void ws_send(struct ws *s, int opcode, const void *payload, size_t size);
void ws_write(struct ws *s, const void *data, size_t size); /* bytes as they are */
void ws_flush(struct ws *s);                                /* the socket can be written again */
void ws_drop(struct ws *s);                                 /* close at once and free */

#endif
