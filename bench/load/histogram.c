#include "histogram.h"

double histogram_ms(const struct histogram *h, double share)
{
    if (h->count == 0)
        return 0;
    uint64_t seen = 0, wanted = (uint64_t)(share * (double)h->count);
    for (int slot = 0; slot < HISTOGRAM_SLOTS; slot++) {
        seen += h->slots[slot];
        if (seen > wanted || seen == h->count) {
            int shift = slot < 128 ? 0 : slot / 64 - 1;
            uint64_t low = (uint64_t)(slot - 64 * shift) << shift, width = 1ull << shift;
            double middle = (double)low + (double)(width - 1) / 2;
            return (middle > (double)h->max ? (double)h->max : middle) / 1000;
        }
    }
    return (double)h->max / 1000;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
    to->count += from->count;
    to->sum += from->sum;
    to->max = to->max > from->max ? to->max : from->max;
    for (int slot = 0; slot < HISTOGRAM_SLOTS; slot++)
        to->slots[slot] += from->slots[slot];
}

void histogram_print(FILE *to, const struct histogram *h)
{
    fprintf(to, "{\"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"p999\": %.3f, \"max\": %.3f, \"mean\": %.3f, \"count\": %llu}",
            histogram_ms(h, .5), histogram_ms(h, .9), histogram_ms(h, .99), histogram_ms(h, .999),
            (double)h->max / 1000, h->count ? (double)h->sum / (double)h->count / 1000 : 0, (unsigned long long)h->count);
}
