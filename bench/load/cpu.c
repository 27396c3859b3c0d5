#include "cpu.h"
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* User and system time of ended children that were waited for: fields 16 and 17 of /proc/<pid>/stat. */
static int64_t reaped(int pid)
{
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    size_t size = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[size] = 0;
    long long user = 0, system = 0;
    char *name_end = strrchr(line, ')');
    if (!name_end || sscanf(name_end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %lld %lld", &user, &system) != 2)
        return 0;
    return (user + system) * (1000000000 / sysconf(_SC_CLK_TCK));
}

static void add_tree(struct cpu *cpu, int pid);

/* Children are listed by the thread that started them. */
static void add_children(struct cpu *cpu, int pid)
{
    char path[128];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    for (struct dirent *task; tasks && (task = readdir(tasks));) {
        if (task->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/children", pid, task->d_name);
        FILE *file = fopen(path, "r");
        for (int child; file && fscanf(file, "%d", &child) == 1;)
            add_tree(cpu, child);
        if (file)
            fclose(file);
    }
    if (tasks)
        closedir(tasks);
}

static void add_tree(struct cpu *cpu, int pid)
{
    for (int i = 0; i < cpu->count; i++)
        if (cpu->of[i].pid == pid)
            return;
    clockid_t clock;
    struct timespec used;
    if (cpu->count == CPU_PROCESSES || clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &used))
        return;
    int64_t nanoseconds = (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
    cpu->of[cpu->count].pid = pid;
    cpu->of[cpu->count++].used = nanoseconds;
    cpu->total += nanoseconds + reaped(pid);
    add_children(cpu, pid);
}

void cpu_read(struct cpu *cpu, const int *pids, int count)
{
    cpu->total = 0;
    cpu->count = 0;
    for (int i = 0; i < count; i++)
        add_tree(cpu, pids[i]);
}

int64_t cpu_of(const struct cpu *cpu, int pid)
{
    for (int i = 0; i < cpu->count; i++)
        if (cpu->of[i].pid == pid)
            return cpu->of[i].used;
    return 0;
}

int64_t cpu_own(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
}
