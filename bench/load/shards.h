/* Several processes that make one load: a page of memory they share tells when to start and what each has sent. */
#ifndef BENCH_SHARDS_H
#define BENCH_SHARDS_H

#include "load.h"

enum stage { FILLED, CONNECTED, DRAINED, FINISHED, STAGES };

void shards_open(void);
void shards_sent(const struct participant *who, uint32_t written);
void shards_meet(enum stage stage, void (*meanwhile)(int64_t until)); /* wait until every shard is there */
int64_t shards_start(void (*meanwhile)(int64_t until));               /* the time all agree on (nanoseconds) */

#endif
