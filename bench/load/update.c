#include "update.h"

enum { DEEPEST = 512 };

/* Length of a UTF-8 string in UTF-16 units, which is what Yjs counts: one for each character, two beyond U+FFFF. */
static uint64_t utf16_length(struct reader text)
{
    uint64_t units = 0, word;
    const uint8_t *at = text.at;
    for (; text.end - at >= 8; at += 8, units += 8) { /* eight ASCII characters at once */
        memcpy(&word, at, 8);
        if (word & 0x8080808080808080ull)
            break;
    }
    for (; at < text.end; at++)
        units += (*at & 0xc0) != 0x80 ? 1 + (*at >= 0xf0) : 0;
    return units;
}

/* One lib0 Any value; its kind is one byte. */
static void skip_any(struct reader *r, int depth)
{
    const uint8_t *kind = read_bytes(r, 1);
    if (!kind || *kind < 116 || depth > DEEPEST) {
        r->failed = true;
        return;
    }
    switch (*kind) {
    case 116: /* bytes */
    case 119: /* string */
        read_string(r);
        return;
    case 117: /* array */
    case 118: /* object */
        for (uint64_t left = read_uint(r); left && !r->failed; left--) {
            if (*kind == 118)
                read_string(r);
            skip_any(r, depth + 1);
        }
        return;
    case 122: /* bigint */
    case 123: /* float64 */
        read_bytes(r, 8);
        return;
    case 124: /* float32 */
        read_bytes(r, 4);
        return;
    case 125: /* integer, variable length with a sign: what counts here is where it ends, and that is the same */
        read_uint(r);
        return;
    default: /* 120 true, 121 false, 126 null, 127 undefined; 128 and above do not exist */
        r->failed |= *kind > 127;
    }
}

static uint64_t skip_content(struct reader *r, struct item *item)
{
    uint64_t count;
    switch (item->kind) {
    case DELETED:
        return read_uint(r);
    case JSON_ARRAY:
        count = read_uint(r);
        for (uint64_t i = 0; i < count && !r->failed; i++)
            read_string(r);
        return count;
    case BINARY:
    case EMBED:
        read_string(r);
        return 1;
    case STRING:
        item->text = read_string(r);
        return utf16_length(item->text);
    case FORMAT:
        read_string(r); /* key */
        read_string(r); /* value as JSON */
        return 1;
    case TYPE:
        count = read_uint(r);
        if (count == 3 || count == 5) /* XmlElement and XmlHook have a name */
            read_string(r);
        r->failed |= count > 6;
        return 1;
    case ANY:
        count = read_uint(r);
        for (uint64_t i = 0; i < count && !r->failed; i++)
            skip_any(r, 0);
        return count;
    case DOC:
        read_string(r); /* guid */
        skip_any(r, 0); /* options */
        return 1;
    default:
        r->failed = true;
        return 0;
    }
}

void read_item(struct reader *r, struct item *item)
{
    const uint8_t *byte = read_bytes(r, 1);
    uint8_t info = byte ? *byte : 0;
    item->kind = info & 0x1f;
    if (item->kind == GC || item->kind == SKIP) {
        item->length = read_uint(r);
    } else {
        if (info & 0x80) { /* what stands left of it */
            read_uint(r);
            read_uint(r);
        }
        if (info & 0x40) { /* what stands right of it */
            read_uint(r);
            read_uint(r);
        }
        if (!(info & 0xc0)) {
            if (read_uint(r) == 1) { /* parent: a root by name, or an item */
                read_string(r);
            } else {
                read_uint(r);
                read_uint(r);
            }
            if (info & 0x20) /* key in the parent */
                read_string(r);
        }
        item->length = skip_content(r, item);
    }
    r->failed |= item->length == 0 && item->kind != STRING;
}

bool read_deletes(struct reader *r, range_found found, void *context)
{
    for (uint64_t clients = read_uint(r); clients && !r->failed; clients--) {
        uint64_t client = read_uint(r);
        for (uint64_t ranges = read_uint(r); ranges && !r->failed; ranges--) {
            uint64_t first = read_uint(r), length = read_uint(r);
            if (found && !r->failed)
                found(context, client, first, first + length);
        }
    }
    return !r->failed;
}

bool update_ranges(const uint8_t *data, size_t size, range_found structs, range_found deletes, void *context)
{
    struct reader r = {data, data + size, false};
    struct item item;
    for (uint64_t sections = read_uint(&r); sections && !r.failed; sections--) {
        uint64_t left = read_uint(&r), client = read_uint(&r), first = read_uint(&r), end = first;
        for (; left && !r.failed; left--) {
            read_item(&r, &item);
            if (item.kind == SKIP) {
                if (structs && end > first)
                    structs(context, client, first, end);
                first = end + item.length;
            }
            end += item.length;
        }
        if (structs && end > first && !r.failed)
            structs(context, client, first, end);
    }
    return read_deletes(&r, deletes, context) && r.at == r.end;
}

void write_typed(struct bytes *to, uint64_t client, uint64_t first, uint64_t end)
{
    if (first >= end) {
        bytes_add(to, "\0\0", 2);
        return;
    }
    bytes_add(to, "\1\1", 2); /* one client, one struct */
    bytes_uint(to, client);
    bytes_uint(to, first);
    if (first == 0) {
        bytes_add(to, "\4\1\5quill", 8);
    } else {
        bytes_add(to, "\x84", 1);
        bytes_uint(to, client);
        bytes_uint(to, first - 1);
    }
    bytes_uint(to, end - first);
    bytes_reserve(to, end - first);
    for (; first < end; first++)
        to->data[to->size++] = letter_at(first);
    bytes_add(to, "", 1); /* no deletes */
}
