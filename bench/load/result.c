/* The result as JSON. */
#include "load.h"
#include <stdarg.h>

typedef unsigned long long count;

void run_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (run.errors < sizeof run.error / sizeof *run.error)
        vsnprintf(run.error[run.errors++], sizeof *run.error, format, arguments);
    va_end(arguments);
}

static void print_string(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text; text++)
        if (*text == '"' || *text == '\\' || (unsigned char)*text < ' ')
            fprintf(to, "\\u%04x", (unsigned char)*text);
        else
            fputc(*text, to);
    fputc('"', to);
}

static void print_histogram(FILE *to, const char *name, const struct histogram *h, bool wanted)
{
    fprintf(to, ",\n \"%s\": ", name);
    if (wanted)
        histogram_print(to, h);
    else
        fputs("null", to);
}

static double seconds(int64_t nanoseconds)
{
    return (double)nanoseconds / 1e9;
}

static void print_cpu(FILE *to)
{
    const struct cpu *start = &run.cpu_start, *end = &run.cpu_end;
    fprintf(to, ",\n \"server_cpu\": %.6f, \"server_cpu_by_pid\": {", seconds(end->total - start->total));
    for (int i = 0; i < end->count; i++)
        fprintf(to, "%s\"%d\": %.6f", i ? ", " : "", end->of[i].pid, seconds(end->of[i].used - cpu_of(start, end->of[i].pid)));
    fprintf(to, "}, \"generator_cpu\": %.6f", seconds(run.generator_cpu));
}

static void print_join(FILE *to)
{
    struct histogram sync = {0};
    count bytes = 0, complete = 0;
    for (uint32_t i = 0; i < run.connections; i++) {
        const struct connection *c = run.connection[i];
        if (c->role != JOINER)
            continue;
        bytes += c->bytes_at_sync;
        complete += has_everything(c);
        if (c->synced)
            histogram_add(&sync, (c->synced - c->opened) / 1000);
    }
    fprintf(to, ",\n \"join\": ");
    if (!run.config.joiners) {
        fputs("null", to);
        return;
    }
    fprintf(to, "{\"count\": %llu, \"complete\": %llu, \"bytes\": %llu, \"server_cpu\": %.6f, \"sync_ms\": ", (count)sync.count,
            complete, bytes, seconds(run.join_cpu));
    histogram_print(to, &sync);
    fputc('}', to);
}

static void print_steps(FILE *to)
{
    fputs(",\n \"steps\": ", to);
    if (!run.config.ramp) {
        fputs("null", to);
        return;
    }
    for (int i = 1; i <= run.config.steps; i++) {
        const struct step *step = &run.step[i];
        fprintf(to, "%s\n  {\"factor\": %g, \"rate\": %g, \"sent\": %llu, \"deliveries\": %llu, \"expected\": %llu, \"arrivals\": %llu, \"server_cpu\": %.6f, \"latency_ms\": ",
                i > 1 ? "," : "[", run.config.factor[i - 1], run.config.rate * run.config.factor[i - 1], (count)step->sent,
                (count)step->deliveries, (count)plan_expected(run.plan.bound[i], run.plan.bound[i + 1], false),
                (count)step->arrivals, seconds(step->server_cpu));
        histogram_print(to, &step->latency);
        fputc('}', to);
    }
    fputc(']', to);
}

static void print_errors(FILE *to)
{
    fputs(",\n \"errors\": [", to);
    for (uint32_t i = 0; i < run.errors; i++) {
        fputs(i ? ", " : "", to);
        print_string(to, run.error[i]);
    }
    fputs("]\n}\n", to);
}

static void print_counts(FILE *to, const struct step *total)
{
    int64_t begin = run.plan.bound[1], end = run.plan.bound[run.config.steps + 1];
    const struct { const char *name; count value; } counts[] = {
        {"sent", total->sent},
        {"expected", plan_expected(begin, end, false)},
        {"deliveries", total->deliveries},
        {"arrivals", run.window_arrivals},
        {"warmup_deliveries", run.step[0].deliveries},
        {"echoes", run.echoes},
        {"duplicates", run.duplicates},
        {"overlaps", run.overlaps},
        {"gaps", run.gaps},
        {"corrupted", run.corrupted},
        {"misrouted", run.misrouted},
        {"malformed", run.malformed},
        {"texts", run.texts},
        {"frames_in", run.window_frames},
        {"bytes_in", run.window_bytes},
        {"closed", run.closed},
        {"barriers_unanswered", run.barriers_open},
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        fprintf(to, "%s\"%s\": %llu", i % 6 ? ", " : ",\n ", counts[i].name, counts[i].value);
}

void result_print(FILE *to)
{
    struct step total = {0};
    for (int i = 1; i <= run.config.steps; i++) {
        total.sent += run.step[i].sent;
        total.deliveries += run.step[i].deliveries;
        histogram_merge(&total.latency, &run.step[i].latency);
    }
    fprintf(to, "{\"config\": %s,\n \"connected\": %u, \"connect_seconds\": %.3f, \"connect_cpu\": %.6f", run.config.text,
            run.connected, run.connect_seconds, seconds(run.connect_cpu));
    print_counts(to, &total);
    print_histogram(to, "latency_ms", &total.latency, true);
    print_histogram(to, "saved_ms", &run.saved, run.config.barriers > 0);
    print_histogram(to, "seen_saved_ms", &run.seen_saved, run.config.barriers > 0 && run.config.all_ask);
    fprintf(to, ",\n \"presence\": {\"sent\": %llu, \"received_states\": %llu, \"echoed\": %llu, \"latency_ms\": ",
            (count)run.presence_sent, (count)run.presence_received, (count)run.presence_echoed);
    histogram_print(to, &run.presence_latency);
    fprintf(to, "},\n \"window_seconds\": %.6f, \"drain_seconds\": %.6f", run.window_seconds, run.drain_seconds);
    print_cpu(to);
    fprintf(to, ", \"late_by_ms\": %.3f, \"longest_round_ms\": %.3f", histogram_ms(&run.lateness, .99),
            (double)run.window_longest_round / 1e6);
    fprintf(to, ",\n \"converged\": %s, \"late_joiners_ok\": %u", run.converged ? "true" : "false", run.late_ok);
    print_join(to);
    print_histogram(to, "probe_latency_ms", &run.probe[1].latency, run.config.probe);
    print_steps(to);
    print_errors(to);
}
