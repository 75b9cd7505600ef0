/* The sessions of a scenario. See load.h. */
#include "offline/load.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/address.h"
#include "offline/offline.h"

/* Addresses of 10.0.0.0/8. */
static bool make_clients(struct load *load, uint32_t count) {
    load->made_up = calloc(count, sizeof(*load->made_up));
    if (load->made_up == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct address address = {.length = sizeof(address.v4), .v4.sin_family = AF_INET};
        address.v4.sin_addr.s_addr = htonl(0x0A000001u + i);
        address_format_host(&address, load->made_up[i].text, sizeof(load->made_up[i].text));
        load->made_up[i].hash = address_hash_host(&address);
    }
    load->clients = load->made_up;
    load->client_count = count;
    return true;
}

int load_open(struct load *load, const struct scenario *scenario) {
    *load = (struct load){.scenario = scenario, .duration = scenario->duration};
    if (scenario->trace != NULL) {
        const char *pool = scenario->pool_given ? scenario->pool_name : NULL;
        int code = trace_read(&load->trace, scenario->trace, pool);
        if (code == OFFLINE_OK) {
            load->clients = load->trace.clients;
            load->client_count = load->trace.client_count;
            /* A little more than the last arrival: an end there is none to divide by 0 with. */
            load->duration = load->trace.sessions[load->trace.count - 1].at + 0.001;
        }
        return code;
    }
    if (!make_clients(load, scenario->clients)) {
        fputs("alacrity simulate: out of memory\n", stderr);
        return OFFLINE_FAILED;
    }
    return OFFLINE_OK;
}

void load_free(struct load *load) {
    trace_free(&load->trace);
    free(load->made_up);
}

void load_rewind(struct load *load) {
    random_seed(&load->random, load->scenario->seed);
    load->at = 0;
    load->next = 0;
}

static double draw_duration(struct load *load) {
    const struct distribution *session = &load->scenario->session;
    switch (session->kind) {
    case DISTRIBUTION_EXP:
        return random_exponential(&load->random, session->mean);
    case DISTRIBUTION_PARETO: {
        double least = session->mean * (session->shape - 1) / session->shape;
        return least / pow(random_unit(&load->random), 1 / session->shape);
    }
    default:
        return session->mean;
    }
}

bool load_next(struct load *load, struct arrival *arrival) {
    if (load->trace.count > 0) {
        if (load->next == load->trace.count) {
            return false;
        }
        const struct trace_session *session = &load->trace.sessions[load->next++];
        *arrival = (struct arrival){.at = session->at,
                                    .duration = session->duration,
                                    .client = session->client,
                                    .port = session->port};
    } else {
        load->at += random_exponential(&load->random, 1 / load->scenario->rate);
        if (load->at >= load->duration) {
            return false;
        }
        *arrival = (struct arrival){.at = load->at,
                                    .duration = draw_duration(load),
                                    .client = random_below(&load->random, load->client_count),
                                    .port = 40000};
    }
    arrival->worker = random_below(&load->random, load->scenario->workers);
    return true;
}
