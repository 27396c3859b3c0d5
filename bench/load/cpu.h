/* CPU time of processes and all their descendants, in nanoseconds. */
#ifndef BENCH_CPU_H
#define BENCH_CPU_H

#include <stdint.h>

enum { CPU_PROCESSES = 256 };

/* CPU time used so far. `total` also holds descendants that have ended and were waited for (those in clock ticks). */
struct cpu {
    int64_t total;
    int count;
    struct { int pid; int64_t used; } of[CPU_PROCESSES];
};

void cpu_read(struct cpu *cpu, const int *pids, int count); /* the trees below these processes */
int64_t cpu_of(const struct cpu *cpu, int pid);             /* 0 when it was not there */
int64_t cpu_own(void);

#endif
