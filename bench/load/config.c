#include "config.h"
#include "bytes.h"
#include <ctype.h>

/* -- JSON: each scalar is handed on with the name of the key it stands under, `outer.inner` in an object */

struct json {
    const char *at;
    struct config *config;
};

static void set(struct config *c, const char *name, char *text, bool null);

static void spaces(struct json *j)
{
    while (isspace((unsigned char)*j->at))
        j->at++;
}

static bool accept(struct json *j, char wanted)
{
    spaces(j);
    if (*j->at != wanted)
        return false;
    j->at++;
    return true;
}

static void expect(struct json *j, char wanted)
{
    if (!accept(j, wanted))
        die("config: '%c' expected before: %.30s", wanted, j->at);
}

static char *string(struct json *j)
{
    struct bytes text = {0};
    expect(j, '"');
    while (*j->at && *j->at != '"') {
        if (*j->at == '\\' && (!*++j->at || !strchr("\"\\/", *j->at)))
            die("config: only \\\", \\\\ and \\/ are understood in a string");
        bytes_add(&text, j->at++, 1);
    }
    expect(j, '"');
    bytes_add(&text, "", 1);
    return (char *)text.data;
}

static void value(struct json *j, const char *name);

static void object(struct json *j, const char *outer)
{
    if (accept(j, '}'))
        return;
    do {
        char name[256], *key = (spaces(j), string(j));
        snprintf(name, sizeof name, "%s%s%s", outer, *outer ? "." : "", key);
        expect(j, ':');
        value(j, name);
    } while (accept(j, ','));
    expect(j, '}');
}

static void value(struct json *j, const char *name)
{
    if (accept(j, '{')) {
        object(j, name);
    } else if (accept(j, '[')) {
        if (accept(j, ']'))
            return;
        do
            value(j, name);
        while (accept(j, ','));
        expect(j, ']');
    } else if (*j->at == '"') {
        set(j->config, name, string(j), false);
    } else {
        size_t size = strcspn(j->at, ",]} \t\r\n");
        char *text = strndup(j->at, size);
        j->at += size;
        set(j->config, name, text, strcmp(text, "null") == 0);
    }
}

/* -- the keys */

static double number(const char *name, const char *text)
{
    char *end;
    double result = strtod(text, &end);
    if (strcmp(text, "true") == 0)
        return 1;
    if (strcmp(text, "false") == 0)
        return 0;
    if (end == text || *end || !(result >= 0 && result < 1e15))
        die("config: %s cannot be %s", name, text);
    return result;
}

static bool set_string(struct config *c, const char *name, char *text)
{
    struct { const char *name; char **to; } known[] = {
        {"path", &c->path}, {"room", &c->room}, {"document", &c->document}, {"state_vector", &c->state_vector},
        {"rendezvous", &c->rendezvous}, {"token", &c->token},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0) {
            *known[i].to = text;
            return true;
        }
    return false;
}

static bool set_number(struct config *c, const char *name, double x)
{
    struct { const char *name; double *to; } known[] = {
        {"rate", &c->rate}, {"presence_rate", &c->presence_rate}, {"barriers", &c->barriers},
        {"duration", &c->duration}, {"warmup", &c->warmup}, {"drain", &c->drain}, {"connect_rate", &c->connect_rate},
        {"connect_timeout", &c->connect_timeout}, {"ramp.from", &c->ramp_from}, {"ramp.to", &c->ramp_to},
        {"ramp.step", &c->ramp_step}, {"ramp.seconds", &c->ramp_seconds},
    };
    struct { const char *name; uint32_t *to; } counts[] = {
        {"rooms", &c->rooms}, {"clients", &c->clients}, {"writers", &c->writers}, {"late", &c->late},
        {"joiners", &c->joiners}, {"in_flight", &c->in_flight},
    };
    struct { const char *name; bool *to; } flags[] = {
        {"join_at_once", &c->join_at_once}, {"probe", &c->probe}, {"idle_only", &c->idle_only},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0)
            return *known[i].to = x, true;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (strcmp(name, counts[i].name) == 0)
            return *counts[i].to = (uint32_t)x, true;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcmp(name, flags[i].name) == 0)
            return *flags[i].to = x != 0, true;
    return false;
}

static void set(struct config *c, const char *name, char *text, bool null)
{
    static int shard_values;
    if (null)
        return;
    if (strcmp(name, "target") == 0) {
        if (c->targets == MAX_TARGETS)
            die("config: more than %d targets", MAX_TARGETS);
        c->target[c->targets++] = text;
    } else if (strcmp(name, "pids") == 0) {
        if (c->pids == MAX_PIDS)
            die("config: more than %d pids", MAX_PIDS);
        c->pid[c->pids++] = (int)number(name, text);
    } else if (strcmp(name, "protocol") == 0) {
        c->hocuspocus = strcmp(text, "hocuspocus") == 0;
        if (!c->hocuspocus && strcmp(text, "yjs") != 0)
            die("config: protocol is yjs or hocuspocus");
    } else if (strcmp(name, "barrier_clients") == 0) {
        c->all_ask = strcmp(text, "all") == 0;
        if (!c->all_ask && strcmp(text, "writers") != 0)
            die("config: barrier_clients is writers or all");
    } else if (strcmp(name, "shard") == 0) {
        *(shard_values++ ? &c->shards : &c->shard) = (int)number(name, text);
    } else if (strcmp(name, "seed") == 0) {
        c->seed = (uint64_t)number(name, text);
    } else if (strcmp(name, "echo") == 0) {
        c->echo = number(name, text) != 0;
    } else if (strcmp(name, "presence_clients") == 0) {
        c->presence_clients = strcmp(text, "all") == 0 ? -1 : (int64_t)number(name, text);
    } else if (!set_string(c, name, text) && !set_number(c, name, number(name, text))) {
        die("config: unknown key %s", name);
    }
}

static void check(struct config *c)
{
    if (!c->targets)
        die("config: target is missing");
    if (c->writers > c->clients)
        c->writers = c->clients;
    if (c->presence_clients < 0 || c->presence_clients > c->clients)
        c->presence_clients = c->clients;
    if (c->presence_rate == 0)
        c->presence_clients = 0;
    if (c->rate == 0)
        c->writers = 0;
    if (c->echo < 0)
        c->echo = !c->hocuspocus;
    if (c->shards < 1 || c->shard >= c->shards || (c->shards > 1 && !c->rendezvous))
        die("config: shard is [i, n] with i below n, and rendezvous names a file that the shards share");
    if (c->rooms < 1 || c->connect_rate <= 0 || c->in_flight < 1)
        die("config: rooms, connect_rate and in_flight must be above zero");
    c->ramp = c->ramp_from > 0;
    if (!c->ramp) {
        c->factor[c->steps++] = 1;
        return;
    }
    if (c->ramp_step <= 1 || c->ramp_seconds <= 0)
        die("config: ramp needs step above 1, and seconds");
    for (double factor = c->ramp_from; factor <= c->ramp_to * 1.0001 && c->steps < MAX_STEPS; factor *= c->ramp_step)
        c->factor[c->steps++] = factor;
    c->duration = c->steps * c->ramp_seconds;
}

uint8_t *file_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        die("%s cannot be read", path);
    struct bytes content = {0};
    for (size_t got = 1; got;) {
        bytes_reserve(&content, 65536);
        got = fread(content.data + content.size, 1, 65535, file);
        content.size += got;
    }
    fclose(file);
    content.data[content.size] = 0;
    *size = content.size;
    return content.data;
}

void config_read(struct config *c, const char *path)
{
    size_t size;
    *c = (struct config){
        .path = "/ws/{room}", .room = "bench", .rooms = 1, .clients = 10, .writers = 10, .rate = 10,
        .presence_clients = -1, .echo = -1, .duration = 10, .warmup = 2, .drain = 5, .late = 3, .join_at_once = true,
        .shards = 1, .seed = 1, .connect_rate = 500, .connect_timeout = 60, .in_flight = 64, .token = "",
    };
    c->text = (char *)file_read(path, &size);
    while (size && isspace((unsigned char)c->text[size - 1]))
        c->text[--size] = 0;
    struct json j = {c->text, c};
    expect(&j, '{');
    object(&j, "");
    spaces(&j);
    if (*j.at)
        die("config: something stands behind the object: %.30s", j.at);
    check(c);
}
