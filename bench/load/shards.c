#include "shards.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static const int64_t PATIENCE = 600ll * 1000000000;

static struct {
    _Atomic int arrived[STAGES];
    _Atomic int64_t start;
    _Atomic uint32_t sent[]; /* by participant */
} *shared;

void shards_open(void)
{
    size_t size = sizeof *shared + run.plan.participants * sizeof *shared->sent;
    int fd = -1, flags = MAP_SHARED | MAP_ANONYMOUS;
    if (run.config.shards > 1) {
        fd = open(run.config.rendezvous, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        flags = MAP_SHARED;
        if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
            die("rendezvous: %s cannot be made", run.config.rendezvous);
    }
    shared = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (shared == MAP_FAILED)
        die("no memory to share");
    if (fd >= 0)
        close(fd);
}

void shards_sent(const struct participant *who, uint32_t written)
{
    atomic_store_explicit(&shared->sent[who - run.plan.participant], written, memory_order_relaxed);
}

uint32_t sent_by(uint32_t participant)
{
    return atomic_load_explicit(&shared->sent[participant], memory_order_relaxed);
}

void shards_meet(enum stage stage, void (*meanwhile)(int64_t until))
{
    int64_t end = now_ns() + PATIENCE;
    atomic_fetch_add(&shared->arrived[stage], 1);
    while (atomic_load(&shared->arrived[stage]) < run.config.shards) {
        if (now_ns() > end)
            die("the other shards did not come");
        meanwhile(now_ns() + 10000000);
    }
}

int64_t shards_start(void (*meanwhile)(int64_t until))
{
    int64_t unset = 0;
    shards_meet(CONNECTED, meanwhile);
    atomic_compare_exchange_strong(&shared->start, &unset, now_ns() + 200000000);
    return atomic_load(&shared->start);
}
