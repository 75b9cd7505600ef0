/* The functions behind alacrity.counter, gauge and histogram. Making one runs on the builder, while
 * a script is loaded or constructed; counting on the thread that owns the state (library.c). */
#include "pool/metrics.h"

#include <math.h>
#include <string.h>

#include "lua/library.h"
#include "pool/arena.h"

/* ---- making (Lua C function) ---- */

/* Copies a string into its field. False: it is none, or does not fit. */
static bool take_string(lua_State *lua, int index, char *field, size_t bytes) {
    size_t length;
    const char *text =
        lua_type(lua, index) == LUA_TSTRING ? lua_tolstring(lua, index, &length) : NULL;
    if (text == NULL || length >= bytes || strlen(text) != length) {
        return false;
    }
    memcpy(field, text, length + 1);
    return true;
}

/* By name, so that the same labels are the same series however they are written. */
static void insert_label(struct metric *metric, const struct metric_label *label) {
    uint32_t at = metric->label_count++;
    for (; at > 0 && strcmp(metric->labels[at - 1].name, label->name) > 0; at--) {
        metric->labels[at] = metric->labels[at - 1];
    }
    metric->labels[at] = *label;
}

static const char *take_labels(lua_State *lua, int index, struct metric *metric) {
    if (lua_isnil(lua, index)) {
        return NULL;
    }
    if (!lua_istable(lua, index)) {
        return "labels must be a table, {name = value}";
    }
    for (lua_pushnil(lua); lua_next(lua, index) != 0; lua_pop(lua, 1)) {
        struct metric_label label = {0};
        size_t length;
        if (lua_type(lua, -2) != LUA_TSTRING) {
            return "labels must be a table, {name = value}";
        }
        const char *name = lua_tolstring(lua, -2, &length);
        const char *fault = metric_label_fault(name, length);
        if (fault != NULL) {
            return fault;
        }
        memcpy(label.name, name, length);
        if (!take_string(lua, -1, label.value, sizeof(label.value))) {
            return "the value of a label is a string of at most 63 bytes";
        }
        if (metric->label_count == METRIC_LABELS) {
            return "there are at most 4 labels";
        }
        insert_label(metric, &label);
    }
    return NULL;
}

static const char *take_buckets(lua_State *lua, int index, struct metric *metric) {
    static const char fault[] = "buckets must be a list of 1 to 30 numbers, ascending";
    size_t count = lua_istable(lua, index) ? lua_objlen(lua, index) : 0;
    if (count < 1 || count > METRIC_BOUNDS) {
        return fault;
    }
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(lua, index, (int)i + 1);
        double bound = lua_type(lua, -1) == LUA_TNUMBER ? lua_tonumber(lua, -1) : NAN;
        lua_pop(lua, 1);
        if (!isfinite(bound) || (i > 0 && bound <= metric->bounds[i - 1])) {
            return fault;
        }
        metric->bounds[i] = bound;
    }
    metric->bound_count = (uint32_t)count;
    return NULL;
}

enum { KIND = 1, NAME, HELP, LABELS, BUCKETS };

/* What the arguments say. NULL, or what is wrong with them. */
static const char *take_arguments(lua_State *lua, struct metric *metric) {
    static const char *const kinds[] = {"counter", "gauge", "histogram", NULL};
    size_t length;
    metric->kind = (enum metric_kind)luaL_checkoption(lua, KIND, NULL, kinds);
    if (lua_type(lua, NAME) != LUA_TSTRING) {
        return "the name must be a string";
    }
    const char *name = lua_tolstring(lua, NAME, &length);
    const char *fault = metric_name_fault(name, length);
    if (fault != NULL) {
        return fault;
    }
    memcpy(metric->name, name, length);
    if (lua_isnil(lua, HELP)) {
        lua_pushliteral(lua, "Of a script; it does not say what it means.");
        lua_replace(lua, HELP);
    }
    if (!take_string(lua, HELP, metric->help, sizeof(metric->help))) {
        return "help is a string of at most 127 bytes";
    }
    fault = take_labels(lua, LABELS, metric);
    return fault == NULL && metric->kind == METRIC_HISTOGRAM ? take_buckets(lua, BUCKETS, metric)
                                                             : fault;
}

int library_open_metric(lua_State *lua) {
    const struct vm *vm = lua_touserdata(lua, lua_upvalueindex(1));
    struct script_host *host = vm->host;
    struct metric metric = {0};
    uint32_t index;
    lua_settop(lua, BUCKETS);
    const char *fault;
    if (vm->library.stage != ALACRITY_BUILDING || !vm->loading) {
        fault = vm->acting.script != NULL && vm->acting.script->kind == SCRIPT_TEST
                    ? "a test makes no metrics of its own; the scripts it loads do"
                    : "write it at the top of the script or in `new`; later there are no new ones";
    } else if (host->arena == NULL) {
        fault = "there is nothing to count in here";
    } else {
        fault = take_arguments(lua, &metric);
    }
    if (fault == NULL) {
        fault = metrics_take(host->arena, &metric, &index);
    }
    if (fault != NULL) {
        lua_pushnil(lua);
        lua_pushstring(lua, fault);
        return 2;
    }
    /* One reference for the host, however often it is made. */
    uint64_t *word = &host->metrics[index / 64], bit = (uint64_t)1 << (index % 64);
    if ((*word & bit) != 0) {
        metrics_give(host->arena, index);
    }
    *word |= bit;
    lua_pushnumber(lua, index);
    return 1;
}

void library_host_free(struct script_host *host) {
    for (uint32_t i = 0; i < METRICS; i++) {
        if ((host->metrics[i / 64] >> (i % 64) & 1) != 0) {
            metrics_give(host->arena, i);
        }
    }
}

/* ---- counting (natives) ---- */

static bool counts(const struct alacrity_library *library) {
    return library->stage == ALACRITY_LIVE; /* in a trial nothing is changed */
}

static void native_add(const struct alacrity_library *library, uint32_t id, double amount) {
    if (counts(library)) {
        metric_add(library->arena, library->row, id, amount);
    }
}

static void native_set(const struct alacrity_library *library, uint32_t id, double value) {
    if (counts(library)) {
        metric_set(library->arena, library->row, id, value);
    }
}

static void native_observe(const struct alacrity_library *library, uint32_t id, double value) {
    if (counts(library)) {
        metric_observe(library->arena, library->row, id, value);
    }
}

const struct alacrity_metric_natives metric_natives = {
    .add = native_add,
    .set = native_set,
    .observe = native_observe,
};
