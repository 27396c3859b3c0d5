/* load CONFIG.json > result.json: many clients of a Yjs server in one thread, and what they see of it.
 *
 * How it measures
 *  - When each edit is typed is fixed before the run (plan.c), for every writer and every process of a sharded run, from
 *    the seed alone. Nothing that the server does slows the typing: an edit that is late, because the server or this
 *    program is, counts from the time it should have been typed. How late this program sent is reported (late_by_ms),
 *    and the longest time in which it looked at no socket (longest_round_ms): latencies may be too high by so much.
 *  - An edit is one character of one writer: one clock of its Yjs client id. What arrives is decoded (update.c) into
 *    (client id, clock range), whatever the server made of the updates: merged, split, sent twice. A delivery is a clock
 *    that a connection, not the writer's own, gets for the first time; its latency ends when the bytes have been read
 *    from the socket. Ranges that a connection had already are duplicates, those that leave a hole are gaps, and the
 *    text is compared with what was typed. The writer's own edits coming back are echoes, and are not deliveries.
 *  - expected is worked out from what was sent, not from what came: (edits) x (other connections in the room).
 *  - server_cpu is the CPU time of the server's processes, in nanoseconds as the kernel accounts them, from the start of
 *    the first measured step until everything sent in it has arrived or `drain` is over. What it was spent on is
 *    arrivals: all deliveries, the probe's too, between the same two moments. A server that keeps up has as many arrivals
 *    as deliveries; one that does not is still at the warm-up's edits when the measured time begins.
 *  - saved_ms: a writer asks with a message 102 right behind an edit when it is on disk; from when that edit was due until
 *    the answer. seen_saved_ms: likewise, of those who only read and ask whether what they see is safe; from when they
 *    were to ask.
 *  - converged: every connection has every clock of every writer, also of the warm-up. late_joiners_ok: so many that
 *    came after the end got the same from the server's memory or disk.
 *
 * load parse FILE... prints the clock ranges of updates, a line each, for the tests of the decoder. */
#include "load.h"

struct run run;

static void print_range(void *separator, uint64_t client, uint64_t first, uint64_t end)
{
    printf("%s[%llu, %llu, %llu]", (const char *)separator, (unsigned long long)client, (unsigned long long)first,
           (unsigned long long)end);
    strcpy(separator, ", ");
}

static void parse(const char *path)
{
    size_t size;
    uint8_t *data = file_read(path, &size);
    char separator[3] = "";
    if (!update_ranges(data, size, NULL, NULL, NULL)) {
        puts("{\"valid\": false}");
        return;
    }
    printf("{\"valid\": true, \"ranges\": [");
    update_ranges(data, size, print_range, NULL, separator);
    printf("], \"deletes\": [");
    *separator = 0;
    update_ranges(data, size, NULL, print_range, separator);
    puts("]}");
    free(data);
}

int main(int count, char **arguments)
{
    if (count > 1 && strcmp(arguments[1], "parse") == 0) {
        for (int i = 2; i < count; i++)
            parse(arguments[i]);
        return 0;
    }
    if (count != 2)
        die("usage: load CONFIG.json > result.json");
    config_read(&run.config, arguments[1]);
    scenario();
    result_print(stdout);
    return 0;
}
