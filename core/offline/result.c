/* What the simulation of one policy counts. See engine.h. */
#include <stdlib.h>

#include "offline/engine.h"

static uint32_t place_of(uint64_t number) {
    if (number < 64) {
        return (uint32_t)number;
    }
    uint32_t power = 63 - (uint32_t)__builtin_clzll(number);
    uint32_t place = (power - 5) * 64 + (uint32_t)(number >> (power - 6) & 63);
    return place < HISTOGRAM_PLACES ? place : HISTOGRAM_PLACES - 1;
}

void histogram_add(struct histogram *histogram, uint64_t number) {
    histogram->counts[place_of(number)]++;
    histogram->total++;
}

double histogram_share(const struct histogram *histogram, double share) {
    uint64_t left = (uint64_t)(share * (double)histogram->total);
    for (uint32_t place = 0; place < HISTOGRAM_PLACES; place++) {
        if (histogram->counts[place] > left) {
            return (double)(place < 64 ? place : (uint64_t)(64 + place % 64) << (place / 64 - 1));
        }
        left -= histogram->counts[place];
    }
    return 0;
}

uint64_t result_failures(const struct result *result) {
    return result->errors + result->bad_answers + result->overruns;
}

void result_free(struct result *result) {
    free(result->backends);
    free(result->series);
}
