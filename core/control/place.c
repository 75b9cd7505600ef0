/* Making and freeing a policy with a host of its own; see place.h. */
#include "control/place.h"

#include <stdlib.h>

/* A view of the pool for this policy alone: the builder proves it while the worker uses others, and
 * what a shadow takes (turns, tables) is not the current policy's. NULL: out of memory. */
static struct pool_view *new_view(const struct control_pool *pool) {
    struct pool_view *view = malloc(sizeof(*view));
    if (view != NULL && !view_init(view, pool->facts, pool->config->name, pool->slots,
                                   pool->config->backend_count)) {
        free(view);
        view = NULL;
    }
    if (view != NULL) {
        view->script.view.zone_code = zone_code(pool->config->zone);
    }
    return view;
}

bool place_build(struct policy_place *place, const struct place_order *order,
                 struct messages *messages) {
    struct pool_view *view = new_view(order->pool);
    struct script_host *host =
        view == NULL ? NULL
                     : scripting->host_new(order->snapshot, order->arena, NULL, order->script_post,
                                           order->worker, messages);
    if (host == NULL) {
        messages_add(messages, order->version->use.at, "out of memory");
        if (view != NULL) {
            view_free(view);
            free(view);
        }
        return false;
    }
    *place =
        (struct policy_place){.view = view, .host = host, .version = version_hold(order->version)};
    const struct policy_order policy = {.use = &order->version->use,
                                        .view = view,
                                        .shadow = order->shadow,
                                        .owns_view = true,
                                        .carry = order->carry};
    place->policy = scripting->policy_new(host, &policy, messages);
    if (place->policy == NULL) {
        place_free(place);
        return false;
    }
    place->hears = scripting->policy_hears(place->policy);
    return true;
}

void place_free(struct policy_place *place) {
    if (place->host != NULL) {
        scripting->host_free(place->host);
    }
    version_release(place->version);
    *place = (struct policy_place){0};
}
