/* What is said of a backend's health: its reason, for people, and a line in the log. Control. */
#ifndef CONTROL_HEALTH_WORDS_H
#define CONTROL_HEALTH_WORDS_H

#include "base/log.h"
#include "pool/slot.h"
#include "scripting.h"

const char *health_word(enum backend_health health);
const char *admin_word(enum backend_admin admin);

/* Writes slot->reason: one line, and seen to be cut when it is. */
void slot_reason(struct slot *slot, const char *reason);
/* Its state changed just now. */
void slot_stamp(struct slot *slot);
void health_tell(const struct slot *slot, enum log_level level, const char *from, const char *to,
                 const char *reason);
/* An answer as a reason; `info` is what the check said to it, or NULL. */
void health_describe(enum check_answer answer, const char *info, char *out, size_t bytes);

#endif
