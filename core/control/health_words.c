/* What is said of a backend's health; see health_words.h. Control thread. */
#include "control/health_words.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

const char *health_word(enum backend_health health) {
    static const char *const words[] = {"starting", "up", "suspect", "down"};
    return words[health];
}

const char *admin_word(enum backend_admin admin) {
    return admin == ADMIN_DRAIN ? "drain" : admin == ADMIN_MAINT ? "maint" : "ready";
}

void slot_reason(struct slot *slot, const char *reason) {
    int length = snprintf(slot->reason, sizeof(slot->reason), "%s", reason);
    if (length >= (int)sizeof(slot->reason)) {
        strcpy(slot->reason + sizeof(slot->reason) - sizeof("..."), "...");
    }
    for (char *c = slot->reason; *c != '\0'; c++) {
        *c = (unsigned char)*c < ' ' || *c == 0x7F ? ' ' : *c;
    }
}

void slot_stamp(struct slot *slot) {
    atomic_store_explicit(&slot->changed_wall_ms, (int64_t)clock_wall_ms(), memory_order_relaxed);
}

void health_tell(const struct slot *slot, enum log_level level, const char *from, const char *to,
                 const char *reason) {
    const struct log_field fields[] = {
        LOG_STRING("pool", slot->script.pool), LOG_STRING("backend", slot->script.name),
        LOG_STRING("from", from), LOG_STRING("to", to), LOG_STRING("reason", reason)};
    log_fields(level, "health", fields, "backend %s/%s: %s -> %s: %s", slot->script.pool,
               slot->script.name, from, to, reason);
}

void health_describe(enum check_answer answer, const char *info, char *out, size_t bytes) {
    bool empty = info == NULL || info[0] == '\0';
    switch (answer) {
    case CHECK_UP:
        snprintf(out, bytes, "%s", empty ? "the check succeeded" : info);
        break;
    case CHECK_DRAIN:
        snprintf(out, bytes, "drain%s%s", empty ? "" : ": ", empty ? "" : info);
        break;
    case CHECK_ERROR:
        snprintf(out, bytes, "the check has an error%s%s", empty ? "" : ": ", empty ? "" : info);
        break;
    default:
        snprintf(out, bytes, "%s", empty ? "the check failed" : info);
    }
}
