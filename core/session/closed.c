/* Telling policies how sessions ended (on_close). Runs on the session's worker.
 *
 * A session outlives the plan and the policy it was picked by: whatever policy its pool has now is
 * told. A pool that is no more has none. */
#include <stdlib.h>

#include "session/session.h"

static int by_facts(const void *a, const void *b) {
    const struct pool_facts *x = (*(struct worker_pool *const *)a)->facts;
    const struct pool_facts *y = (*(struct worker_pool *const *)b)->facts;
    return x < y ? -1 : x > y;
}

void plan_find_hearing(struct worker_plan *plan) {
    plan->hearing_count = 0;
    for (uint32_t i = 0; i < plan->pool_count; i++) {
        if (plan->pools[i].current.hears) {
            plan->hearing[plan->hearing_count++] = &plan->pools[i];
        }
    }
    if (plan->hearing_count > 1) {
        qsort(plan->hearing, plan->hearing_count, sizeof(struct worker_pool *), by_facts);
    }
}

static struct worker_pool *hearing(const struct worker_plan *plan, struct pool_facts *facts) {
    struct worker_pool wanted = {.facts = facts}, *key = &wanted;
    struct worker_pool **found =
        bsearch(&key, plan->hearing, plan->hearing_count, sizeof(struct worker_pool *), by_facts);
    return found != NULL ? *found : NULL;
}

void session_tell_policy(struct session *session, enum session_reason reason) {
    const struct data_plane *plane = session->plane;
    if (!session->asked || plane->plan == NULL || plane->plan->hearing_count == 0) {
        return;
    }
    const struct worker_pool *pool = hearing(plane->plan, session->pool);
    if (pool == NULL) {
        return;
    }
    struct address client;
    char client_text[ALACRITY_ADDRESS_BYTES];
    session_client_address(session, &client);
    address_format_host(&client, client_text, sizeof(client_text));
    bool connected = session->slot != NULL && session->state == SESSION_RELAYING;
    const struct alacrity_closed_private closed = {
        .view = {.attempts = session->attempts,
                 .client_hash = address_hash_host(&client),
                 .client_port = session->client_port,
                 .reason_code = reason,
                 .duration_ms = (plane->now - session->opened) * 1000,
                 .bytes_in = (double)session->client.received_bytes,
                 .bytes_out = (double)session->backend.received_bytes},
        .client = client_text,
        .listener = session->listener->name,
        .reason = session_reason_word(reason),
        .backend = connected ? &session->slot->script.view : NULL,
        .values = &session->values,
    };
    switch (scripting->policy_closed(pool->current.policy, &closed)) {
    case TOLD:
    case TOLD_NOBODY:
        return;
    case TOLD_ERROR:
        counter_add(&pool->row->policy_errors, 1);
        break;
    case TOLD_STOPPED:
        counter_add(&pool->row->policy_overruns, 1);
        break;
    }
    counter_add(&pool->row->troubles, 1);
}
